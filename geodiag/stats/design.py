"""Which run, step and cluster each row belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from geodiag.stats.arrays import Bools, Ints, encode
from geodiag.stats.partition import Partition

Labels = ArrayLike | Sequence[Any]


@dataclass(frozen=True)
class Design:
    """The labels of n rows."""

    runs: Partition
    """The run of each row: what within-run and between-run statistics speak of."""
    clusters: Partition
    """The independent units: the runs, or something coarser."""
    steps: Ints | None
    """The step of each row, for statistics that hold it fixed."""
    match: Ints | None
    """Which rows of two clusters stand opposite each other when clusters exchange their signals."""

    @classmethod
    def from_labels(
        cls,
        runs: Labels,
        *,
        steps: Labels | None = None,
        clusters: Labels | None = None,
        match: Labels | None = None,
    ) -> Design:
        """Build a design from one label a row.

        Args:
            runs: the run of each row.
            steps: the step of each row.
            clusters: the independent unit of each row; default: its run.
            match: the place of each row in its cluster, unique there, for whole-run permutation; default:
                the step. Rows that are pairs of tasks need (step, old task), clusters of several runs (run's
                place, step).
        """
        own = Partition.from_labels(runs, where="runs")
        n = len(own.codes)

        def codes(labels: Labels | None, where: str) -> Ints | None:
            return None if labels is None else encode(labels, where=where, rows=n)[1]

        steps_ = codes(steps, "steps")
        units = own if clusters is None else Partition(*_named(clusters, n))
        return cls(own, units, steps_, codes(match, "match") if match is not None else steps_)

    def take(self, rows: Bools | Ints) -> Design:
        """The design of some of the rows."""
        steps = None if self.steps is None else self.steps[rows]
        match = None if self.match is None else self.match[rows]
        return Design(self.runs.take(rows), self.clusters.take(rows), steps, match)

    def by_run(self) -> Design:
        """The design of one row a run, in the order of the runs.

        Runs stand opposite each other if their rows have the same places: the mean of a longer run is another
        thing wherever signal and target drift.
        """
        first = np.unique(self.runs.codes, return_index=True)[1]
        return Design(self.runs.take(first), self.clusters.take(first), None, self._places_of_runs())

    def _places_of_runs(self) -> Ints | None:
        """For each run a number that says which places it has; without places, one and the same."""
        if self.match is None:
            own = self.clusters.count == self.runs.count
            return np.zeros(self.runs.count, dtype=np.intp) if own else None
        order = np.lexsort((self.match, self.runs.codes))
        held = np.split(self.match[order], np.cumsum(self.runs.sizes)[:-1])
        numbers: dict[bytes, int] = {}
        return np.array([numbers.setdefault(places.tobytes(), len(numbers)) for places in held], dtype=np.intp)


def _named(labels: Labels, rows: int) -> tuple[tuple[Any, ...], Ints]:
    names, codes = encode(labels, where="clusters", rows=rows)
    return tuple(names), codes
