"""Placement of a number among others: robust z-scores with a trend, and percentiles."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median
from types import MappingProxyType

LEAST_AT_STEP = 5
"""Other runs' values at a step from which a percentile among them is told."""
OUTER = 10.0
"""Percent at either end that count as far out among other runs at a step."""


@dataclass(frozen=True)
class Placement:
    """Where a value stands among those of other steps."""

    rank: int
    """Its rank in the run, 1 being the highest; ties share the better rank."""
    of: int
    """How many values the run has, this one included."""
    z: float | None
    """(value - median) / (1.4826 MAD) of the run's other values; None with fewer than 4 of them."""
    critical: float | None
    """The |z| that 1 in 100 ordinary steps would exceed, given how few other values there are."""
    detrended: bool
    """Whether the trend of the run's other steps was taken off first."""
    percentile: float | None = None
    """Percent of the store's other values that are smaller, ties counted half; None where there are none."""
    among: int = 0
    """How many values that is a percentage of."""
    at_step: float | None = None
    """The same among other runs' values at this step index."""
    among_at_step: int = 0
    """How many values that is a percentage of."""
    within: str = ""
    """The model size that the store's values were confined to; empty where they were not."""

    @property
    def unusual(self) -> bool:
        """Whether |z| is larger than chance would make it 1 time in 100."""
        return self.z is not None and self.critical is not None and abs(self.z) > self.critical

    @property
    def stands_out(self) -> bool:
        """Whether it is unusual, and not only because numbers at its step index vary more in every run.

        Means over few pairs or few old tasks, as at early steps, scatter more than those over many.
        """
        if not self.unusual or self.at_step is None or self.among_at_step < LEAST_AT_STEP:
            return self.unusual
        return self.at_step >= 100 - OUTER if (self.z or 0.0) > 0 else self.at_step <= OUTER

    @property
    def departure(self) -> float:
        """|z| as a multiple of its critical value, at most 3; 0 where it is not known."""
        return 0.0 if self.z is None or not self.critical else min(abs(self.z) / self.critical, 3.0)


MAD_TO_SD = 1.4826
"""What the median absolute deviation of a normal sample is multiplied by to estimate its standard deviation."""
LEAST_SPREAD = 0.005
"""A spread smaller than this share of the median is taken for it: finer differences are not worth speaking of."""
TREND = 0.8
"""Spearman's correlation of the other steps' values with their index from which they are said to trend."""
LEAST_OTHERS = 4
"""Other values that a z needs."""

CRITICAL: Mapping[int, float] = MappingProxyType(
    {4: 15.8, 5: 14.4, 6: 8.1, 7: 7.8, 8: 5.9, 9: 5.8, 10: 4.9, 12: 4.4, 14: 4.1, 16: 3.8, 20: 3.5, 30: 3.2, 60: 2.8}
)
"""99 % quantile of |z| by the number of other values."""
CRITICAL_TREND: Mapping[int, float] = MappingProxyType(
    {5: 130.0, 6: 24.3, 7: 20.2, 8: 10.8, 9: 9.8, 10: 7.5, 12: 6.0, 14: 5.2, 16: 4.7, 20: 4.1, 30: 3.5, 60: 3.0}
)
"""The same where a trend is taken off that reaches one step beyond the others."""


def place_step(course: Mapping[int, float | None], step: int, *, floor: float = 0.0) -> Placement | None:
    """The place of one step's number in its run; None where it has none.

    A trend that the other steps have with the step index is taken off before the z, not before the rank.

    Args:
        course: the number at every step of the run.
        step: the step in question.
        floor: the smallest spread to reckon with, such as the noise of a score.
    """
    value = course.get(step)
    if value is None:
        return None
    others = {t: v for t, v in course.items() if t != step and v is not None}
    slope = _slope(others)
    level = [v - slope * t for t, v in others.items()]
    least = max(floor, LEAST_SPREAD * abs(median(others.values()))) if others else floor
    place = place_among(value - slope * step, level, floor=least, detrended=slope != 0)
    return replace(place, rank=1 + sum(other > value for other in others.values()))


def place_among(
    value: float, others: Sequence[float], *, floor: float | None = None, detrended: bool = False
) -> Placement:
    """The place of a number among others of its run that have no order.

    Args:
        value: the number.
        others: the run's others.
        floor: the smallest spread to reckon with; by default `LEAST_SPREAD` of the others' median.
        detrended: whether a trend was taken off.
    """
    return Placement(
        rank=1 + sum(other > value for other in others),
        of=len(others) + 1,
        z=robust_z(value, others, floor=floor),
        critical=critical_value(len(others), detrended=detrended),
        detrended=detrended,
    )


def robust_z(value: float, others: Sequence[float], *, floor: float | None = None) -> float | None:
    """(value - median) / (1.4826 MAD) of the others; None with fewer than 4, or where it has no finite value."""
    if len(others) < LEAST_OTHERS:
        return None
    centre = median(others)
    least = LEAST_SPREAD * abs(centre) if floor is None else floor
    spread = max(MAD_TO_SD * median(abs(other - centre) for other in others), least)
    if spread == 0:
        # All others are 0. So is this one, or nothing says how far off it is.
        return 0.0 if value == centre else None
    return (value - centre) / spread


def critical_value(others: int, *, detrended: bool) -> float | None:
    """The critical |z| for so many other values, between the simulated ones by straight lines."""
    known = CRITICAL_TREND if detrended else CRITICAL
    sizes = sorted(known)
    if others < sizes[0]:
        return None
    if others >= sizes[-1]:
        return known[sizes[-1]]
    right = next(size for size in sizes if size >= others)
    left = max(size for size in sizes if size <= others)
    share = 0.0 if right == left else (others - left) / (right - left)
    return known[left] + share * (known[right] - known[left])


def _slope(others: Mapping[int, float]) -> float:
    """Theil-Sen slope where the values trend with the step index, else 0."""
    steps, values = list(others), list(others.values())
    if len(steps) < min(CRITICAL_TREND) or abs(_spearman(steps, values)) < TREND:
        return 0.0
    return median((others[b] - others[a]) / (b - a) for a, b in combinations(steps, 2))


def _spearman(x: Sequence[float], y: Sequence[float]) -> float:
    a, b = _ranks(x), _ranks(y)
    mean = (len(a) + 1) / 2
    top = sum((p - mean) * (q - mean) for p, q in zip(a, b, strict=True))
    size = sum((p - mean) ** 2 for p in a) * sum((q - mean) ** 2 for q in b)
    return top / size**0.5 if size else 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    """Average ranks from 1."""
    return [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]


Percentile = tuple[float | None, int]
"""Percent of other values that are smaller, ties counted half, and how many others there are."""


class Reference:
    """A number's values over runs and steps.

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
        """Where one of the values stands among all others."""
        return percentile(value, self._all, without=[value])

    def at_step(self, value: float, *, run: str, step: int) -> Percentile:
        """Where one of the values stands among those that other runs have at its step."""
        return percentile(value, self._at.get(step, []), without=self._of.get(run, {}).get(step, []))


def percentile(value: float, ordered: Sequence[float], *, without: Sequence[float]) -> Percentile:
    """Percent of values that are smaller than `value`, ties counted half; None where there are none.

    Args:
        value: the value to place.
        ordered: values in ascending order.
        without: those among them that do not count.
    """
    n = len(ordered) - len(without)
    if n <= 0:
        return None, 0
    below = bisect_left(ordered, value) - sum(other < value for other in without)
    same = bisect_right(ordered, value) - bisect_left(ordered, value) - sum(other == value for other in without)
    return 100 * (below + same / 2) / n, n
