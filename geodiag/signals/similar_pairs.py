"""Drops of old tasks in pairs of other runs: of the same two tasks, and of pairs with similar GC and SAR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import polars as pl

NEAREST_PAIRS = 20
"""Pairs that count as similar."""
_COLUMNS = ("run", "step", "new_task", "old_task", "mean_conflict", "mean_sar", "drop")


@dataclass(frozen=True)
class PairDrops:
    """Drops of the old task over pairs of other runs; all None where there is no such pair."""

    n: int = 0
    """How many pairs."""
    median: float | None = None
    """The median drop."""
    low: float | None = None
    """The largest loss."""
    high: float | None = None
    """The smallest loss, or largest gain."""
    lost: float | None = None
    """The share of pairs whose old task fell, 0..1."""
    all_median: float | None = None
    """The median drop over all pairs of other runs."""

    @classmethod
    def of(cls, drops: Sequence[float], *, all_median: float) -> PairDrops:
        """Summary of drops.

        Args:
            drops: one number a pair.
            all_median: the median over all pairs of other runs.
        """
        if not drops:
            return cls()
        lost = sum(drop < 0 for drop in drops) / len(drops)
        return cls(len(drops), median(drops), min(drops), max(drops), lost, all_median)

    def numbers(self) -> dict[str, float | int | None]:
        """All fields by name."""
        return dict(vars(self))


class SimilarPairs:
    """Pairs of a new and an old task whose GC, SAR and drop are all defined, for lookup from one of them.

    Args:
        pairs: the rows of `geodiag.signals.pair_signals`.
    """

    def __init__(self, pairs: pl.DataFrame) -> None:
        frame = pairs.select(_COLUMNS).drop_nulls()
        self._ranks = frame.select(pl.col("mean_conflict", "mean_sar").rank("average")).to_numpy()
        self._drops, self._runs = frame["drop"].to_numpy(), frame["run"].to_numpy()
        self._index = {key: k for k, key in enumerate(frame.select("run", "step", "old_task").iter_rows())}
        self._tasks: dict[frozenset[str], list[int]] = {}
        for k, tasks in enumerate(frame.select("new_task", "old_task").iter_rows()):
            self._tasks.setdefault(frozenset(tasks), []).append(k)
        self._medians: dict[str, float] = {}

    def same_tasks(self, pair: Mapping[str, Any]) -> PairDrops:
        """Pairs of the same two tasks in other runs, whichever was trained first.

        Args:
            pair: a row of `pair_signals`.
        """
        tasks = frozenset((pair["new_task"], pair["old_task"]))
        rows = [k for k in self._tasks.get(tasks, []) if self._runs[k] != pair["run"]]
        return self._summary(rows, pair["run"])

    def nearest(self, pair: Mapping[str, Any]) -> PairDrops:
        """The `NEAREST_PAIRS` pairs of other runs with the closest GC and SAR, by their ranks among all pairs.

        The distance of two pairs is the larger of their two differences in rank. Where other runs have fewer than
        twice `NEAREST_PAIRS` pairs, the result is empty.

        Args:
            pair: a row of `pair_signals`.
        """
        here = self._index.get((pair["run"], pair["step"], pair["old_task"]))
        others = np.flatnonzero(self._runs != pair["run"])
        if here is None or len(others) < 2 * NEAREST_PAIRS:
            return PairDrops()
        # max(|rank GC_i - rank GC_j|, |rank SAR_i - rank SAR_j|)
        distance = np.abs(self._ranks[others] - self._ranks[here]).max(axis=1)
        nearest = np.argsort(distance, kind="stable")[:NEAREST_PAIRS]
        return self._summary(others[nearest].tolist(), pair["run"])

    def _summary(self, rows: Sequence[int], run: str) -> PairDrops:
        if run not in self._medians:
            others = self._drops[self._runs != run]
            self._medians[run] = float(np.median(others)) if len(others) else 0.0
        return PairDrops.of([float(self._drops[k]) for k in rows], all_median=self._medians[run])
