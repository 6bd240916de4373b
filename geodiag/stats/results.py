"""Results of the statistics: single estimates with interval and p-value, and arrays of many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from geodiag.common.schema import defined
from geodiag.errors import SettingsError
from geodiag.stats.design import Bools, Floats, Ints, Texts


@dataclass(frozen=True)
class Interval:
    """A confidence interval; its ends are None where it is undefined, and `reason` says why."""

    low: float | None
    """Lower end."""
    high: float | None
    """Upper end."""
    dropped: int = 0
    """Resamples in which the statistic was undefined."""
    reason: str | None = None
    """Why there is none."""


@dataclass(frozen=True)
class PValue:
    """A two-sided permutation p-value."""

    p: float | None
    """The p-value."""
    arrangements: int
    """Arrangements looked at."""
    exact: bool
    """Whether these were all there are."""
    rows: int
    """Rows the test used."""
    reason: str | None = None
    """Why there is none."""


@dataclass(frozen=True)
class Correlation:
    """One signal against one target in one group of rows."""

    group: str
    """The rows' name."""
    signal: str
    """The signal's name."""
    target: str
    """The target's name."""
    estimate: float | None
    """The correlation."""
    rows: int
    """Rows complete in signal, target and controls, n."""
    runs: int
    """Clusters among these rows: the number of independent units."""
    jackknife: Interval
    """Leave-one-run-out interval with t quantiles; it keeps its coverage."""
    percentile: Interval
    """Run-cluster percentile bootstrap, as usually published; short with few runs."""
    whole_run: PValue
    """Whole-run permutation; it keeps its level."""
    free: PValue
    """Free shuffling of rows, as usually published; it treats rows as independent."""
    reason: str | None
    """Why there is no correlation."""


# Fills of undefined elements, by the kind of a field; a fill sets the dtype of its array as well.
_NUMBERS: Mapping[str, Any] = {"fill": np.float64(np.nan)}
_COUNTS: Mapping[str, Any] = {"fill": np.intp(0)}
_FLAGS: Mapping[str, Any] = {"fill": np.bool_(False)}
_REASONS: Mapping[str, Any] = {"fill": None}


@dataclass(frozen=True, kw_only=True)
class IntervalArrays:
    """Counts, intervals and reasons of many estimates, as arrays of one shape; undefined numbers are NaN."""

    rows: Ints = field(metadata=_COUNTS)
    """Complete rows, n."""
    runs: Ints = field(metadata=_COUNTS)
    """Clusters among them."""
    low: Floats = field(metadata=_NUMBERS)
    """Jackknife interval, lower end."""
    high: Floats = field(metadata=_NUMBERS)
    """Jackknife interval, upper end."""
    percentile_low: Floats = field(metadata=_NUMBERS)
    """Percentile interval, lower end."""
    percentile_high: Floats = field(metadata=_NUMBERS)
    """Percentile interval, upper end."""
    dropped: Ints = field(metadata=_COUNTS)
    """Resamples in which the estimate was undefined."""
    reason: Texts = field(metadata=_REASONS)
    """Why there is no estimate."""
    interval_reason: Texts = field(metadata=_REASONS)
    """Why there is no jackknife interval."""
    percentile_reason: Texts = field(metadata=_REASONS)
    """Why there is no percentile interval."""


def empty_arrays(result: type[IntervalArrays], shape: tuple[int, ...]) -> dict[str, Any]:
    """Arrays for every field of a result that declares a fill, filled with it.

    Args:
        result: `CorrelationGrid` or `Differences`.
        shape: the shape of each array.
    """
    return {f.name: np.full(shape, f.metadata["fill"]) for f in fields(result) if "fill" in f.metadata}


@dataclass(frozen=True, kw_only=True)
class Differences(IntervalArrays):
    """|rho_a| - |rho_b| for pairs of signals; all arrays have shape (groups, pairs, targets), NaN where undefined."""

    groups: tuple[str, ...]
    """Names along the first axis."""
    pairs: tuple[tuple[int, int], ...]
    """Columns a and b along the second axis."""
    first: Floats = field(metadata=_NUMBERS)
    """rho_a, on the rows complete in a, b and the target."""
    second: Floats = field(metadata=_NUMBERS)
    """rho_b, on the same rows."""
    difference: Floats = field(metadata=_NUMBERS)
    """|rho_a| - |rho_b|, in [-1, 1]."""


@dataclass(frozen=True, kw_only=True)
class CorrelationGrid(IntervalArrays):
    """Every signal against every target in every group; all arrays have shape (groups, signals, targets).

    Undefined numbers are NaN here and None in `cell` and `cells`.
    """

    statistic: str
    """Which correlation."""
    groups: tuple[str, ...]
    """Names along the first axis."""
    signals: tuple[str, ...]
    """Names along the second axis."""
    targets: tuple[str, ...]
    """Names along the third axis."""
    estimate: Floats = field(metadata=_NUMBERS)
    """The correlations."""
    p_whole_run: Floats = field(metadata=_NUMBERS)
    """Whole-run permutation p-values."""
    p_free: Floats = field(metadata=_NUMBERS)
    """Free-shuffle p-values."""
    free_arrangements: Ints = field(metadata=_COUNTS)
    """Shuffles looked at."""
    arrangements: Ints = field(metadata=_COUNTS)
    """Whole-run arrangements looked at."""
    exact: Bools = field(metadata=_FLAGS)
    """Whether these were all there are."""
    p_rows: Ints = field(metadata=_COUNTS)
    """Rows the whole-run test used."""
    p_reason: Texts = field(metadata=_REASONS)
    """Why there is no whole-run p-value."""
    free_reason: Texts = field(metadata=_REASONS)
    """Why there is no free-shuffle p-value."""

    def cell(self, signal: str, target: str, *, group: str = "all") -> Correlation:
        """One correlation by name."""
        at = []
        axes = (("group", self.groups, group), ("signal", self.signals, signal), ("target", self.targets, target))
        for axis, names, name in axes:
            if name not in names:
                raise SettingsError(f"no {axis} {name!r}", fix=f"one of: {', '.join(names)}")
            at.append(names.index(name))
        return self._cell(at[0], at[1], at[2])

    def cells(self) -> Iterator[Correlation]:
        """All correlations: groups outermost, targets innermost."""
        for at in np.ndindex(self.estimate.shape):
            yield self._cell(*at)

    def _cell(self, q: int, s: int, k: int) -> Correlation:
        at = (q, s, k)
        jackknife = (self.low, self.high, None, self.interval_reason)
        percentile = (self.percentile_low, self.percentile_high, self.dropped, self.percentile_reason)
        n = int(self.rows[at])
        return Correlation(
            *(self.groups[q], self.signals[s], self.targets[k]),
            estimate=defined(self.estimate[at]),
            rows=n,
            runs=int(self.runs[at]),
            jackknife=_interval(*jackknife, at=at),
            percentile=_interval(*percentile, at=at),
            whole_run=PValue(
                defined(self.p_whole_run[at]),
                arrangements=int(self.arrangements[at]),
                exact=bool(self.exact[at]),
                rows=int(self.p_rows[at]),
                reason=self.p_reason[at],
            ),
            free=PValue(
                defined(self.p_free[at]),
                arrangements=int(self.free_arrangements[at]),
                exact=False,
                rows=n,
                reason=self.free_reason[at],
            ),
            reason=self.reason[at],
        )


def _interval(low: Floats, high: Floats, dropped: Ints | None, reason: Texts, *, at: tuple[int, ...]) -> Interval:
    lost = 0 if dropped is None else int(dropped[at])
    return Interval(defined(low[at]), defined(high[at]), lost, reason[at])
