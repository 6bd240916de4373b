"""Resampling: its settings, seeded random draws, and cluster intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from math import factorial, prod
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from geodiag.errors import SettingsError
from geodiag.stats.design import Bools, Floats, Ints, Texts, multiplicities


@dataclass(frozen=True)
class ResamplingSettings:
    """Numbers of draws, level and fewest runs; the defaults are those of the published tables."""

    resamples: int = 2000
    """Resamples of clusters for percentile intervals; 0: none."""
    permutations: int = 3000
    """Random arrangements for p-values, and the largest set enumerated instead; 0: no p-values."""
    level: float = 0.95
    """Coverage of intervals."""
    least_runs: int = 6
    """Fewest clusters for a jackknife interval."""
    least_runs_percentile: int = 6
    """Fewest clusters for a percentile interval; published tables go down to 4, where it says little."""
    free: bool = True
    """Also shuffle rows freely."""
    unequal: Literal["same", "common"] = "same"
    """Runs of unequal length in whole-run permutation: exchange among runs with the `same` steps only, or drop
    the steps that are not `common` to all runs first."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        for name in ("resamples", "permutations"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name} is {getattr(self, name)}", fix="0 or more")
        for name in ("least_runs", "least_runs_percentile"):
            if getattr(self, name) < 2:
                raise SettingsError(f"{name} is {getattr(self, name)}", fix="2 or more")
        if not 0 < self.level < 1:
            raise SettingsError(f"level is {self.level}", fix="a share such as 0.95")
        if self.unequal not in ("same", "common"):
            raise SettingsError(f"unequal is {self.unequal!r}", fix="one of: same, common")


_CLUSTERS, _ROWS, _ARRANGEMENTS = range(3)


class Draws:
    """Resamples and shuffles.

    A set of draws depends only on the seed, the kind of draw and its size: adding a column or a group to a table
    changes no other number in it, and two signals share the same resamples.

    Args:
        rng: a seed, or a generator, of which two numbers are taken.
    """

    def __init__(self, rng: np.random.Generator | int) -> None:
        generator = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
        self._entropy = [int(word) for word in generator.integers(2**63, size=2)]

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([*self._entropy, *key])

    def resamples(self, clusters: int, *, size: int) -> Floats:
        """`size` resamples of G clusters with replacement, as multiplicities, shape (size, G)."""
        drawn = self._generator(_CLUSTERS, clusters).integers(0, clusters, (size, clusters))
        return multiplicities(drawn, count=clusters)

    def row_orders(self, rows: int, *, size: int, chunk: int) -> Iterator[Ints]:
        """`size` random orders of the rows, at most `chunk` at a time, each of shape (chunk, n)."""
        generator = self._generator(_ROWS, rows)
        for start in range(0, size, chunk):
            still = np.tile(np.arange(rows), (min(chunk, size - start), 1))
            yield generator.permuted(still, axis=1)

    def arrangements(self, strata: list[int], *, size: int) -> tuple[list[Ints], bool]:
        """Permutations of the clusters within each stratum.

        Args:
            strata: number of clusters in each stratum; clusters move within their stratum only.
            size: how many to draw, and the largest set that is enumerated instead.

        Returns:
            For each stratum the arrangements, shape (B, clusters), the same B for all; and whether these are
            all there are (the identity among them) rather than random ones.
        """
        if count_arrangements(strata) <= size:
            whole = product(*(list(permutations(range(m))) for m in strata))
            columns = zip(*whole, strict=True)
            return [np.array(column, dtype=np.intp) for column in columns], True
        drawn = []
        for index, m in enumerate(strata):
            generator = self._generator(_ARRANGEMENTS, index, m)
            drawn.append(generator.permuted(np.tile(np.arange(m), (size, 1)), axis=1))
        return drawn, False


def count_arrangements(strata: list[int]) -> int:
    """Number of ways to exchange clusters within strata: the product of the factorials."""
    return prod(factorial(m) for m in strata)


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
    """Undefined intervals of a shape, with the reason."""
    undefined = np.full(shape, np.nan)
    return Bounds(undefined, undefined.copy(), np.zeros(shape, np.intp), np.full(shape, reason, dtype=object))


def too_few(clusters: int, *, least: int) -> str | None:
    """The reason for giving no interval where there are fewer than `least` clusters, else None."""
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
    # centre +- t_{G-1} sqrt((G - 1) / G sum_g (z_g - mean z)^2), on the scale of z = atanh(rho) for correlations
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
