"""Placement of a value among others: robust z-scores, with a trend removed, and percentiles.

    z = (x - median(others)) / (1.4826 MAD(others)),    MAD = median |other - median(others)|

Where the others trend with the step index t, x - b t takes the place of x, b the Theil-Sen slope of the others.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median
from types import MappingProxyType

import numpy as np

from geodiag.stats.ranks import centred_ranks

LEAST_AT_STEP = 5
"""Fewest values of other runs at a step for a percentile among them."""
OUTER = 10.0
"""A percentile among other runs at a step is extreme below this, or above 100 less this."""


@dataclass(frozen=True)
class Placement:
    """Rank, z and percentiles of a value among those of other steps."""

    rank: int
    """Its rank in the run, 1 being the highest; ties share the better rank."""
    of: int
    """How many values the run has, this one included."""
    z: float | None
    """(value - median) / (1.4826 MAD) of the run's other values; None with fewer than 4 of them."""
    critical: float | None
    """The |z| that 1 in 100 ordinary steps would exceed, given how few other values there are."""
    detrended: bool
    """Whether the trend of the run's other steps was removed first."""
    percentile: float | None = None
    """Percent of the store's other values that are smaller, ties counted half; None where there are none."""
    among: int = 0
    """How many values `percentile` is among."""
    at_step: float | None = None
    """The same among other runs' values at this step index."""
    among_at_step: int = 0
    """How many values `at_step` is among."""
    within: str = ""
    """The model size that the store's values were confined to; empty where they were not."""

    @property
    def unusual(self) -> bool:
        """Whether |z| exceeds its critical value."""
        return self.z is not None and self.critical is not None and abs(self.z) > self.critical

    @property
    def stands_out(self) -> bool:
        """Whether it is unusual, and extreme among other runs at its step index where there are enough of them.

        Means over few pairs or few old tasks, as at early steps, scatter more than those over many in every run.
        """
        if not self.unusual or self.at_step is None or self.among_at_step < LEAST_AT_STEP:
            return self.unusual
        return self.at_step >= 100 - OUTER if (self.z or 0.0) > 0 else self.at_step <= OUTER

    @property
    def departure(self) -> float:
        """|z| as a multiple of its critical value, at most 3; 0 where undefined."""
        return 0.0 if self.z is None or not self.critical else min(abs(self.z) / self.critical, 3.0)


MAD_TO_SD = 1.4826
"""Factor from the median absolute deviation of a normal sample to its standard deviation."""
LEAST_SPREAD = 0.005
"""Smallest spread, as a share of the median: finer differences do not count."""
TREND = 0.8
"""Smallest |Spearman| of the other steps' values with the step index that counts as a trend."""
LEAST_OTHERS = 4
"""Fewest other values for a z."""

CRITICAL: Mapping[int, float] = MappingProxyType(
    {4: 15.8, 5: 14.4, 6: 8.1, 7: 7.8, 8: 5.9, 9: 5.8, 10: 4.9, 12: 4.4, 14: 4.1, 16: 3.8, 20: 3.5, 30: 3.2, 60: 2.8}
)
"""99 % quantile of |z| by the number of other values."""
CRITICAL_TREND: Mapping[int, float] = MappingProxyType(
    {5: 130.0, 6: 24.3, 7: 20.2, 8: 10.8, 9: 9.8, 10: 7.5, 12: 6.0, 14: 5.2, 16: 4.7, 20: 4.1, 30: 3.5, 60: 3.0}
)
"""The same where a trend is removed and extrapolated one step beyond the others."""


def place_step(values: Mapping[int, float | None], step: int, *, floor: float = 0.0) -> Placement | None:
    """Placement of one step's value in its run; None where it has none.

    A trend of the other steps' values with the step index is removed before the z, not before the rank.

    Args:
        values: the value at every step of the run, None where undefined.
        step: the step to place.
        floor: smallest spread to divide by, such as the noise of a score.
    """
    value = values.get(step)
    if value is None:
        return None
    others = {t: v for t, v in values.items() if t != step and v is not None}
    slope = _slope(others)
    level = [v - slope * t for t, v in others.items()]
    least = max(floor, LEAST_SPREAD * abs(median(others.values()))) if others else floor
    place = place_among(value - slope * step, level, floor=least, detrended=slope != 0)
    return replace(place, rank=1 + sum(other > value for other in others.values()))


def place_among(
    value: float, others: Sequence[float], *, floor: float | None = None, detrended: bool = False
) -> Placement:
    """Placement of a value among others of its run that have no order.

    Args:
        value: the value to place.
        others: the run's other values.
        floor: smallest spread to divide by; by default `LEAST_SPREAD` of the others' median.
        detrended: whether a trend was removed from all of them.
    """
    return Placement(
        rank=1 + sum(other > value for other in others),
        of=len(others) + 1,
        z=robust_z(value, others, floor=floor),
        critical=critical_value(len(others), detrended=detrended),
        detrended=detrended,
    )


def robust_z(value: float, others: Sequence[float], *, floor: float | None = None) -> float | None:
    """z = (value - median) / (1.4826 MAD) of the others.

    Returns:
        None with fewer than `LEAST_OTHERS` others, or where every other value is 0 and this one is not.
    """
    if len(others) < LEAST_OTHERS:
        return None
    centre = median(others)
    least = LEAST_SPREAD * abs(centre) if floor is None else floor
    spread = max(MAD_TO_SD * median(abs(other - centre) for other in others), least)
    if spread == 0:
        # All others are 0: either this one is 0 too, or there is no scale to measure its distance by.
        return 0.0 if value == centre else None
    return (value - centre) / spread


def critical_value(others: int, *, detrended: bool) -> float | None:
    """Critical |z| for a number of other values, linear between the simulated sizes; None below the smallest."""
    critical = CRITICAL_TREND if detrended else CRITICAL
    sizes = sorted(critical)
    if others < sizes[0]:
        return None
    if others >= sizes[-1]:
        return critical[sizes[-1]]
    right = next(size for size in sizes if size >= others)
    left = max(size for size in sizes if size <= others)
    share = 0.0 if right == left else (others - left) / (right - left)
    return critical[left] + share * (critical[right] - critical[left])


def _slope(others: Mapping[int, float]) -> float:
    """Theil-Sen slope where the values trend with the step index, else 0."""
    steps, values = list(others), list(others.values())
    if len(steps) < min(CRITICAL_TREND) or abs(_spearman(steps, values)) < TREND:
        return 0.0
    return median((others[b] - others[a]) / (b - a) for a, b in combinations(steps, 2))


def _spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's correlation, 0 where either is constant."""
    ranks = centred_ranks(np.array([x, y], dtype=np.float64).T)
    scale = float(np.sqrt((ranks**2).sum(axis=0).prod()))
    return float(ranks[:, 0] @ ranks[:, 1]) / scale if scale else 0.0


Percentile = tuple[float | None, int]
"""Percent of other values that are smaller, ties counted half, and how many others there are."""


class Reference:
    """The values of a quantity over runs and steps, for percentiles among them.

    Args:
        rows: (run, step, value), several of a run and step where there are several.
    """

    def __init__(self, rows: Iterable[tuple[str, int, float]]) -> None:
        self._all: list[float] = []
        self._at: dict[int, list[float]] = {}
        self._of: dict[str, dict[int, list[float]]] = {}
        for run, step, value in rows:
            self._all.append(value)
            self._at.setdefault(step, []).append(value)
            self._of.setdefault(run, {}).setdefault(step, []).append(value)
        self._all.sort()
        for values in self._at.values():
            values.sort()

    def of_run(self, run: str) -> list[float]:
        """All values of a run."""
        return [value for values in self._of.get(run, {}).values() for value in values]

    def in_store(self, value: float) -> Percentile:
        """Percentile of one of the values among all others."""
        return percentile(value, self._all, without=[value])

    def at_step(self, value: float, *, run: str, step: int) -> Percentile:
        """Percentile of one of the values among those of other runs at its step."""
        return percentile(value, self._at.get(step, []), without=self._of.get(run, {}).get(step, []))


def percentile(value: float, ordered: Sequence[float], *, without: Sequence[float]) -> Percentile:
    """Percent of values that are smaller than `value`, ties counted half; None where there are none.

    Args:
        value: the value to place.
        ordered: values in ascending order.
        without: those among them to leave out.
    """
    n = len(ordered) - len(without)
    if n <= 0:
        return None, 0
    below = bisect_left(ordered, value) - sum(other < value for other in without)
    same = bisect_right(ordered, value) - bisect_left(ordered, value) - sum(other == value for other in without)
    return 100 * (below + same / 2) / n, n
