"""Columns with missing values, the design of their rows (run, cluster, step), and blocks of complete rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geodiag.errors import SettingsError

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.intp]
Bools: TypeAlias = NDArray[np.bool_]
Texts: TypeAlias = NDArray[np.object_]


def unexplained(reasons: Texts) -> Bools:
    """Mask of the entries that have a value: those without a reason for being undefined."""
    no_reason: Any = None
    return np.asarray(np.equal(reasons, no_reason), dtype=np.bool_)


def first_reason(reasons: Texts, others: Texts | str | None, /) -> Texts:
    """Element-wise: the first reason, or the second where the first is None."""
    return np.where(unexplained(reasons), np.asarray(others, dtype=object), reasons)


def as_columns(values: ArrayLike, *, where: str, rows: int | None = None) -> Floats:
    """`values` as float64 columns, shape (n, m); a single column may come as shape (n,).

    Args:
        values: numbers, NaN where missing.
        where: the name of the array in an error.
        rows: the number of rows it must have.

    Raises:
        SettingsError: wrong shape, or an infinite value.
    """
    columns = np.asarray(values, dtype=np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2:
        raise SettingsError(f"array of {columns.ndim} dimensions", where=where, fix="give (rows, columns)")
    if rows is not None and len(columns) != rows:
        raise SettingsError(f"{len(columns)} rows beside {rows} others", where=where, fix="one row each")
    if np.isinf(columns).any():
        raise SettingsError("infinite values", where=where, fix="numbers, or NaN where one is missing")
    return columns


def encode_labels(labels: ArrayLike | Sequence[Any], *, where: str, rows: int | None = None) -> tuple[list[Any], Ints]:
    """Distinct labels in sorted order, and for each row the position of its label among them.

    Sorting makes draws over labels independent of the order of the rows.

    Raises:
        SettingsError: a label is missing, or there is not one a row.
    """
    given = labels if isinstance(labels, np.ndarray) else list(labels)  # type: ignore[arg-type]
    if rows is not None and len(given) != rows:
        raise SettingsError(f"{len(given)} labels beside {rows} rows", where=where, fix="one label a row")
    if isinstance(given, np.ndarray) and given.dtype.kind in "iubUS":
        names, codes = np.unique(given, return_inverse=True)
        return names.tolist(), codes.astype(np.intp)
    if any(label is None or label != label for label in given):
        raise SettingsError("missing labels", where=where, fix="a label in every row")
    distinct = sorted(set(given), key=lambda label: (isinstance(label, str), _sort_key(label)))
    position = {label: code for code, label in enumerate(distinct)}
    return distinct, np.array([position[label] for label in given], dtype=np.intp)


def _sort_key(label: Any) -> Any:
    """Numbers by size, everything else by its text."""
    return (float(label), "") if isinstance(label, int | float | np.number) else (0.0, repr(label))


@dataclass(frozen=True)
class Partition:
    """Rows split into G clusters.

    Steps of one run share the run's history, so a run is the smallest unit that can be called independent;
    runs that share experts, a seed or a base call for a higher cluster, built from those labels instead.
    """

    names: tuple[Any, ...]
    """The clusters' labels, sorted, length G."""
    codes: Ints
    """Each row's cluster, shape (n,), values 0..G-1; every cluster has a row."""

    @classmethod
    def from_labels(cls, labels: ArrayLike | Sequence[Any], *, where: str = "clusters") -> Partition:
        """Rows with equal labels form a cluster."""
        names, codes = encode_labels(labels, where=where)
        return cls(tuple(names), codes)

    @property
    def count(self) -> int:
        """Number of clusters, G."""
        return len(self.names)

    @property
    def sizes(self) -> Ints:
        """Rows in each cluster, shape (G,)."""
        return np.bincount(self.codes, minlength=self.count).astype(np.intp)

    def take(self, rows: Bools | Ints) -> Partition:
        """The partition of some of the rows, without clusters that keep no row."""
        kept, codes = np.unique(self.codes[rows], return_inverse=True)
        return Partition(tuple(self.names[k] for k in kept), codes.astype(np.intp))

    def indicator(self, dtype: type[np.floating[Any]] = np.float64) -> Any:
        """Row i belongs to cluster g: ones and zeros, shape (n, G)."""
        return (self.codes[:, None] == np.arange(self.count)).astype(dtype)

    def leave_one_out(self) -> Floats:
        """Multiplicities of the G samples that lack one cluster each, shape (G, G)."""
        return 1.0 - np.eye(self.count)


def multiplicities(drawn: Ints, *, count: int) -> Floats:
    """How often each cluster was drawn.

    These numbers are the whole resample: the rows and their order never change.

    Args:
        drawn: cluster indices, one resample a row, shape (B, draws).
        count: number of clusters, G.

    Returns:
        Shape (B, G); each row sums to the number of draws.
    """
    offsets = np.arange(len(drawn))[:, None] * count
    counts = np.bincount((drawn + offsets).ravel(), minlength=len(drawn) * count)
    return counts.reshape(len(drawn), count).astype(np.float64)


Labels = ArrayLike | Sequence[Any]


@dataclass(frozen=True)
class Design:
    """The labels of n rows."""

    runs: Partition
    """The run of each row, for within-run and between-run statistics."""
    clusters: Partition
    """The independent units: the runs, or something coarser."""
    steps: Ints | None
    """The step of each row, for statistics that hold it fixed."""
    match: Ints | None
    """The place of each row in its cluster: rows at equal places are exchanged when clusters exchange signals."""

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
            return None if labels is None else encode_labels(labels, where=where, rows=n)[1]

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

        Runs are exchanged only if their rows have the same places: where signal and target drift, the mean of a
        longer run is not comparable.
        """
        first = np.unique(self.runs.codes, return_index=True)[1]
        return Design(self.runs.take(first), self.clusters.take(first), None, self._places_of_runs())

    def _places_of_runs(self) -> Ints | None:
        """A number for each run, equal for runs with the same set of places; 0 for all without places."""
        if self.match is None:
            own = self.clusters.count == self.runs.count
            return np.zeros(self.runs.count, dtype=np.intp) if own else None
        order = np.lexsort((self.match, self.runs.codes))
        sets = np.split(self.match[order], np.cumsum(self.runs.sizes)[:-1])
        numbers: dict[bytes, int] = {}
        return np.array([numbers.setdefault(places.tobytes(), len(numbers)) for places in sets], dtype=np.intp)


def _named(labels: Labels, rows: int) -> tuple[tuple[Any, ...], Ints]:
    names, codes = encode_labels(labels, where="clusters", rows=rows)
    return tuple(names), codes


@dataclass(frozen=True)
class Complete:
    """Signals and targets that are present on the same rows."""

    rows: Bools
    """The rows complete in all of them, shape (n,)."""
    signals: Ints
    """Columns of the signals."""
    targets: Ints
    """Columns of the targets."""


def complete_rows(signals: Floats, targets: Floats, *, among: Bools) -> Iterator[Complete]:
    """Split a grid of pairs into blocks that share their complete rows.

    Rows are left out pair by pair, not for the whole table; ranks are shared by the pairs of a block.

    Args:
        signals: shape (n, S), NaN where missing.
        targets: shape (n, K), NaN where missing.
        among: the rows in question, shape (n,).
    """
    for signal_rows, signal_columns in _same_rows(~np.isnan(signals) & among[:, None]):
        for target_rows, target_columns in _same_rows(~np.isnan(targets) & among[:, None]):
            yield Complete(signal_rows & target_rows, signal_columns, target_columns)


def _same_rows(present: Bools) -> Iterator[tuple[Bools, Ints]]:
    """Groups of columns with the same rows present."""
    by_rows: dict[bytes, list[int]] = {}
    for m, column in enumerate(present.T):
        by_rows.setdefault(column.tobytes(), []).append(m)
    for columns in by_rows.values():
        yield present[:, columns[0]], np.array(columns, dtype=np.intp)
