"""What the statistics hand back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    """Leave-one-run-out interval with t quantiles: the one to believe."""
    percentile: Interval
    """Run-cluster percentile bootstrap: the one usually published."""
    whole_run: PValue
    """Whole-run permutation: the one to believe."""
    free: PValue
    """Free shuffling of rows: the one usually published; it takes rows for independent."""
    reason: str | None
    """Why there is no correlation."""


@dataclass(frozen=True)
class CorrelationGrid:
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
    estimate: Floats
    """The correlations."""
    rows: Ints
    """Complete rows, n."""
    runs: Ints
    """Clusters among them."""
    low: Floats
    """Jackknife interval, lower end."""
    high: Floats
    """Jackknife interval, upper end."""
    percentile_low: Floats
    """Percentile interval, lower end."""
    percentile_high: Floats
    """Percentile interval, upper end."""
    dropped: Ints
    """Resamples in which the correlation was undefined."""
    p_whole_run: Floats
    """Whole-run permutation p-values."""
    p_free: Floats
    """Free-shuffle p-values."""
    free_arrangements: Ints
    """Shuffles looked at."""
    arrangements: Ints
    """Whole-run arrangements looked at."""
    exact: Bools
    """Whether these were all there are."""
    p_rows: Ints
    """Rows the whole-run test used."""
    reason: Texts
    """Why there is no correlation."""
    interval_reason: Texts
    """Why there is no jackknife interval."""
    percentile_reason: Texts
    """Why there is no percentile interval."""
    p_reason: Texts
    """Why there is no whole-run p-value."""
    free_reason: Texts
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
            estimate=finite_or_none(self.estimate[at]),
            rows=n,
            runs=int(self.runs[at]),
            jackknife=_interval(*jackknife, at=at),
            percentile=_interval(*percentile, at=at),
            whole_run=PValue(
                finite_or_none(self.p_whole_run[at]),
                arrangements=int(self.arrangements[at]),
                exact=bool(self.exact[at]),
                rows=int(self.p_rows[at]),
                reason=self.p_reason[at],
            ),
            free=PValue(
                finite_or_none(self.p_free[at]),
                arrangements=int(self.free_arrangements[at]),
                exact=False,
                rows=n,
                reason=self.free_reason[at],
            ),
            reason=self.reason[at],
        )


def finite_or_none(value: Any) -> float | None:
    """A plain float, None for NaN."""
    return None if np.isnan(value) else float(value)


def _interval(low: Floats, high: Floats, dropped: Ints | None, reason: Texts, *, at: tuple[int, ...]) -> Interval:
    lost = 0 if dropped is None else int(dropped[at])
    return Interval(finite_or_none(low[at]), finite_or_none(high[at]), lost, reason[at])
