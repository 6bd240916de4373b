"""Sampling noise of scores: intervals of scores, paired means and ratios, and the examples that would decide.

Symbols: p a score in 0..1, n its test items, q a quantile of the standard normal distribution; x (n,) one number an
example of one task, m = mean(x), v = var(x) / n its squared standard error, t a quantile of Student's distribution.
Numbers of several tasks are pooled as the sum of the tasks' means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

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


Numbers = NDArray[np.float64]
MOST_NEEDED = 100_000
"""Examples a task above which no number is named that would decide."""


@dataclass(frozen=True)
class MeanInterval:
    """A mean with its interval."""

    estimate: float
    low: float
    """Lower end; -inf where one example gives no variance."""
    high: float
    se: float
    """Standard error."""
    n: int
    """Examples of the smallest task."""

    @property
    def is_above(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0

    @property
    def is_below(self) -> bool:
        """Whether the interval lies below 0."""
        return self.high < 0


@dataclass(frozen=True)
class RatioInterval:
    """A ratio of two means with Fieller's interval."""

    estimate: float | None
    """None where the denominator's mean is 0."""
    low: float | None
    """None where the interval is not bounded: the denominator is within its noise."""
    high: float | None


def joint_level(count: int, *, level: float = 0.95) -> float:
    """The level of each of `count` intervals that hold together at `level` (Bonferroni)."""
    return 1 - (1 - level) / max(count, 1)


def mean_interval(*samples: Numbers, level: float) -> MeanInterval:
    """Student's interval of the sum over tasks of the mean of paired numbers.

        m = sum_j mean(x_j),   v = sum_j var(x_j) / n_j,   df = v^2 / sum_j (v_j^2 / (n_j - 1))   (Welch, Satterthwaite)

    Args:
        samples: by task, (n_j,) numbers.
        level: coverage, two-sided.

    Raises:
        ValueError: there is no sample, or one is empty.
    """
    if not samples or any(len(sample) == 0 for sample in samples):
        raise ValueError("a mean needs at least one number of every task")
    estimate = float(sum(sample.mean() for sample in samples))
    n = min(map(len, samples))
    if n < 2:
        return MeanInterval(estimate, -math.inf, math.inf, math.inf, n)
    parts = [float(sample.var(ddof=1)) / len(sample) for sample in samples]
    v = sum(parts)
    if v == 0:
        return MeanInterval(estimate, estimate, estimate, 0.0, n)
    df = v**2 / sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, samples, strict=True))
    half = _quantile(df, level) * math.sqrt(v)
    return MeanInterval(estimate, estimate - half, estimate + half, math.sqrt(v), n)


def ratio_interval(numerator: Sequence[Numbers], denominator: Sequence[Numbers], *, level: float) -> RatioInterval:
    """Fieller's interval of sum_j mean(x_j) / sum_j mean(y_j), x and y paired by example.

        roots of  (Y^2 - t^2 v_yy) r^2 - 2 (X Y - t^2 v_xy) r + (X^2 - t^2 v_xx) = 0

    with X, Y the sums of means, v their variances and covariance; bounded where Y^2 > t^2 v_yy. Degrees of freedom:
    sum_j (n_j - 1).

    Args:
        numerator: by task, (n_j,).
        denominator: by task, (n_j,).
        level: coverage, two-sided.
    """
    X, Y = (float(sum(sample.mean() for sample in samples)) for samples in (numerator, denominator))
    estimate = X / Y if Y != 0 else None
    df = sum(len(sample) - 1 for sample in denominator)
    if estimate is None or min(map(len, denominator)) < 2:
        return RatioInterval(estimate, None, None)
    v = np.sum([np.cov(x, y) / len(x) for x, y in zip(numerator, denominator, strict=True)], axis=0)
    t2 = _quantile(df, level) ** 2
    a, b, c = Y**2 - t2 * v[1, 1], X * Y - t2 * v[0, 1], X**2 - t2 * v[0, 0]
    if a <= 0:
        return RatioInterval(estimate, None, None)
    root = math.sqrt(max(b**2 - a * c, 0.0))
    return RatioInterval(estimate, float((b - root) / a), float((b + root) / a))


def examples_needed(interval: MeanInterval, *, level: float) -> int | None:
    """Examples of a task with which the interval would exclude 0, were mean and variance to stay as they are.

    The least n with t(n - 1) s / sqrt(n) < |m|, s^2 = n_now v.

    Args:
        interval: from `mean_interval` with `level`.
        level: its coverage.

    Returns:
        None where the mean is 0, its variance is not defined, or more than 100,000 are needed.
    """
    if interval.estimate == 0 or not math.isfinite(interval.se):
        return None
    s = interval.se * math.sqrt(interval.n)
    low, high = 1, MOST_NEEDED  # the least n lies in (low, high]
    if not _decides(high, s, interval.estimate, level):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _decides(middle, s, interval.estimate, level) else (middle, high)
    return high


def _decides(n: int, s: float, m: float, level: float) -> bool:
    return _quantile(n - 1, level) * s / math.sqrt(n) < abs(m)


def _quantile(df: float, level: float) -> float:
    return float(stdtrit(df, 1 - (1 - level) / 2))
