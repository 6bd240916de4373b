"""Sampling noise of scores: intervals of a score and of a difference, and the number of items a drop needs.

Symbols: p a score in 0..1, n its test items, q a quantile of the standard normal distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist

CONFIDENCE_LEVEL = 0.95
"""Coverage of all intervals of a step together."""


@dataclass(frozen=True)
class SampledScore:
    """A score with its number of items or its standard error."""

    value: float
    """The score, 0..1."""
    n: int | None = None
    """Test items behind it."""
    stderr: float | None = None
    """Its standard error."""

    def interval(self, quantile: float) -> tuple[float, float] | None:
        """Both ends of its interval; None where neither n nor a standard error is given.

        Args:
            quantile: of the standard normal distribution, such as 1.96.
        """
        if self.n is not None and self.n > 0:
            return wilson(self.value, self.n, quantile)
        if self.stderr is not None:
            return self.value - quantile * self.stderr, self.value + quantile * self.stderr
        return None


def joint_quantile(count: int, *, level: float = CONFIDENCE_LEVEL) -> float:
    """The normal quantile with which `count` two-sided intervals hold together at `level` (Bonferroni)."""
    return NormalDist().inv_cdf(1 - (1 - level) / (2 * max(count, 1)))


def wilson(p: float, n: int, quantile: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion p of n items."""
    # (p + q^2 / 2n  +-  q sqrt(p (1 - p) / n + q^2 / 4n^2)) / (1 + q^2 / n)
    q2 = quantile**2
    centre = (p + q2 / (2 * n)) / (1 + q2 / n)
    half = quantile / (1 + q2 / n) * sqrt(p * (1 - p) / n + q2 / (4 * n**2))
    return centre - half, centre + half


def score_difference(new: SampledScore, old: SampledScore, quantile: float) -> tuple[float, float] | None:
    """Newcombe's interval of new - old; None where either score has no interval.

    From each score's own interval (l, u):

        d - sqrt((new - l_new)^2 + (u_old - old)^2)  ..  d + sqrt((u_new - new)^2 + (old - l_old)^2),   d = new - old

    Args:
        new: the later score.
        old: the earlier score.
        quantile: of the standard normal distribution.
    """
    first, second = new.interval(quantile), old.interval(quantile)
    if first is None or second is None:
        return None
    gap = new.value - old.value
    low = gap - sqrt((new.value - first[0]) ** 2 + (second[1] - old.value) ** 2)
    high = gap + sqrt((first[1] - new.value) ** 2 + (old.value - second[0]) ** 2)
    return low, high


def spread(score: SampledScore) -> float:
    """Half the width of a score's interval at q = 1, about one standard error; 0 where it has none."""
    ends = score.interval(1.0)
    return 0.0 if ends is None else (ends[1] - ends[0]) / 2


def items_needed(p: float, drop: float, quantile: float) -> int | None:
    """Items a score needs for a drop of this size to be outside its noise: n = 2 p (1 - p) (q / drop)^2, rounded up.

    Args:
        p: the mean of both scores.
        drop: their difference.
        quantile: the normal quantile of the interval.

    Returns:
        None where the drop is 0 or p is not inside (0, 1).
    """
    if drop == 0 or not 0 < p < 1:
        return None
    return ceil(2 * p * (1 - p) * (quantile / drop) ** 2)
