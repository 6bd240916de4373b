r"""Confidence intervals from clusters left out and clusters drawn.

Jackknife (the default): with z_(g) the statistic on Fisher's scale, atanh(rho), when cluster g is left out,

    SE^2 = (G - 1) / G * sum_g (z_(g) - mean z)^2,       tanh(atanh(rho) +- t_{G-1} SE).

Percentile (what published tables use): quantiles of the statistic over resamples of clusters. At 20 runs it covers
a little less than it says; the jackknife covers what it says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from geodiag.stats.arrays import Bools, Floats, Ints, Texts


@dataclass(frozen=True)
class Bounds:
    """Intervals of one block, every array of shape (S, K)."""

    low: Floats
    """Lower ends, NaN where undefined."""
    high: Floats
    """Upper ends, NaN where undefined."""
    dropped: Ints
    """Resamples in which the statistic was undefined."""
    reason: Texts
    """Why there is no interval, None where there is one."""


def no_bounds(shape: tuple[int, ...], reason: str) -> Bounds:
    """No interval anywhere, and why."""
    nothing = np.full(shape, np.nan)
    return Bounds(nothing, nothing.copy(), np.zeros(shape, np.intp), np.full(shape, reason, dtype=object))


def too_few(clusters: int, *, least: int) -> str | None:
    """Why so few clusters give no interval, or None if they are enough."""
    return f"{clusters} run{'' if clusters == 1 else 's'}, at least {least} are needed" if clusters < least else None


def jackknife_bounds(estimate: Floats, left_out: Floats, *, level: float, fisher: bool = True) -> Bounds:
    """Leave-one-cluster-out intervals with t quantiles.

    Args:
        estimate: the statistic, shape (...).
        left_out: the statistic without each cluster, shape (G, ...).
        level: coverage, as 0.95.
        fisher: work on the scale of atanh, for correlations; else on the statistic's own.

    Returns:
        Intervals; undefined where the statistic is, or a leave-one-out value is undefined or exactly +-1.
    """
    count = len(left_out)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre, z = (np.arctanh(estimate), np.arctanh(left_out)) if fisher else (estimate, left_out)
        spread = np.sqrt((count - 1) / count * ((z - z.mean(axis=0)) ** 2).sum(axis=0))
        reach = stdtrit(count - 1, 0.5 + level / 2) * spread
    low, high = centre - reach, centre + reach
    low, high = (np.tanh(low), np.tanh(high)) if fisher else (low, high)
    fine = np.isfinite(reach) & np.isfinite(centre)
    reason = _unless(fine, "undefined or exactly 1 when a run is left out")
    return Bounds(np.where(fine, low, np.nan), np.where(fine, high, np.nan), np.zeros(fine.shape, np.intp), reason)


def percentile_bounds(resampled: Floats, *, level: float) -> Bounds:
    """Quantiles over resamples; undefined resamples are dropped and counted.

    Args:
        resampled: the statistic in each resample, shape (B, ...), NaN where undefined.
        level: coverage, as 0.95.

    Returns:
        Intervals; undefined where more than half of the resamples were.
    """
    dropped = np.isnan(resampled).sum(axis=0)
    fine = 2 * dropped <= len(resampled)
    usable = np.where(fine, resampled, 0.0)
    tails = [(1 - level) / 2, (1 + level) / 2]
    quantile = np.nanquantile if dropped[fine].any() else np.quantile
    low, high = quantile(usable, tails, axis=0)
    reason = _unless(fine, "undefined in more than half of the resamples")
    return Bounds(np.where(fine, low, np.nan), np.where(fine, high, np.nan), dropped.astype(np.intp), reason)


def _unless(fine: Bools, reason: str) -> Texts:
    return np.where(fine, np.asarray(None, dtype=object), np.asarray(reason, dtype=object))
