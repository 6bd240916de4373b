"""Permutation p-values (rows, whole runs) and their adjustment for multiplicity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from geodiag.errors import SettingsError
from geodiag.stats.correlation import NOTHING_LEFT, Residuals
from geodiag.stats.design import Bools, Design, Floats, Ints
from geodiag.stats.moments import CELLS, Shape
from geodiag.stats.resampling import Draws, count_arrangements

TIE = 1e-12
"""Two correlations closer than this count as equal."""
_PRODUCTS = 2**25  # inner products of trajectories in memory at once: 256 MiB
FEWEST = 20
"""With fewer arrangements no p-value can reach 5 %."""


@dataclass(frozen=True)
class Permuted:
    """The p-values of one block of signals and targets."""

    p: Floats
    """Shape (S, K), NaN where undefined."""
    arrangements: int
    """How many arrangements were looked at."""
    exact: bool
    """Whether these were all there are."""
    reason: str | None
    """Why there is no p-value, if so."""


def undefined(shape: Shape, reason: str) -> Permuted:
    """Undefined p-values with the reason."""
    return Permuted(np.full((shape.signals, shape.targets), np.nan), 0, False, reason)


def free_permutation(residuals: Residuals, *, size: int, draws: Draws) -> Permuted:
    r"""Shuffle rows freely: p = (1 + #{|r*| >= |r|}) / (1 + size)."""
    others = np.concatenate([residuals.targets, residuals.basis], axis=1)
    chunk = max(1, CELLS // others.size)
    targets = residuals.targets.shape[1]
    seen = (
        _correlations(residuals.signals.T @ others[orders], targets)
        for orders in draws.row_orders(len(others), size=size, chunk=chunk)
    )
    return Permuted(_p_value(residuals, seen, size=size, exact=False), size, False, None)


def whole_run_permutation(residuals: Residuals, design: Design, *, size: int, draws: Draws) -> Permuted:
    """Exchange the signals of whole clusters among those that have the same places.

    All arrangements are enumerated where there are at most `size`; then p = #{|r*| >= |r|} / #arrangements, the
    identity among them. Otherwise `size` random ones are drawn, p = (1 + #{|r*| >= |r|}) / (1 + size).

    Clusters with places that no other cluster has keep their own signal throughout. That keeps the test exact
    and on the rows of the estimate; trimming to shared places first is `common_places`.
    """
    shape = Shape(residuals.signals.shape[1], residuals.targets.shape[1], 0)
    if design.match is None:
        return undefined(shape, "no places to match runs by: give steps or match")
    groups = strata(design.clusters.codes, design.match)
    if groups is None:
        return undefined(shape, "two rows of a run share a place: give match labels unique within a run")
    possible = count_arrangements([len(group) for group in groups])
    if possible < FEWEST:
        return undefined(
            shape,
            f"only {possible} arrangements of runs with the same steps, so p is at least {1 / possible:.2g}",
        )
    arrangements, exact = draws.arrangements([len(group) for group in groups], size=size)
    count = len(arrangements[0])
    p = [
        _p_value(part, _exchanged(part, groups, arrangements), size=count, exact=exact)
        for part in _few_signals(residuals, sum(len(group) ** 2 for group in groups))
    ]
    return Permuted(np.concatenate(p), count, exact, None)


def strata(codes: Ints, match: Ints) -> list[Ints] | None:
    """Clusters that have the same places, as row indices of shape (clusters, places).

    Returns:
        One array a stratum, or None if a cluster has two rows at one place.
    """
    order = np.lexsort((match, codes))
    c, m = codes[order], match[order]
    if ((c[1:] == c[:-1]) & (m[1:] == m[:-1])).any():
        return None
    by_places: dict[bytes, list[Ints]] = {}
    for rows in np.split(order, np.flatnonzero(np.diff(c)) + 1):
        by_places.setdefault(match[rows].tobytes(), []).append(rows)
    return [np.stack(rows) for rows in by_places.values()]


def common_places(codes: Ints, match: Ints) -> Bools:
    """The rows at places that every cluster has."""
    pairs = np.unique(np.stack([codes, match]), axis=1)
    shared = np.bincount(pairs[1], minlength=match.max() + 1) == len(np.unique(codes))
    return np.asarray(shared[match], dtype=np.bool_)


def _few_signals(residuals: Residuals, products: int) -> Iterator[Residuals]:
    """The residuals with as many signals at a time as inner products between runs fit in memory."""
    others = residuals.targets.shape[1] + residuals.basis.shape[1]
    chunk = max(1, _PRODUCTS // (products * others))
    for start in range(0, residuals.signals.shape[1], chunk):
        yield replace(residuals, signals=residuals.signals[:, start : start + chunk])


def _exchanged(residuals: Residuals, groups: list[Ints], arrangements: list[Ints]) -> Iterator[Floats]:
    """Correlations under each arrangement, from inner products of whole trajectories."""
    others = np.concatenate([residuals.targets, residuals.basis], axis=1)
    # products[g][i, j] = signal trajectory of run j against target trajectory of run i, shape (m, m, S, K + q).
    products = [
        np.stack([np.swapaxes(residuals.signals[group], 1, 2) @ others[rows] for rows in group]) for group in groups
    ]
    cells = residuals.signals.shape[1] * others.shape[1]
    chunk = max(1, CELLS // cells)
    for start in range(0, len(arrangements[0]), chunk):
        total = np.zeros((len(arrangements[0][start : start + chunk]), *products[0].shape[2:]))
        for product, moved in zip(products, arrangements, strict=True):
            for run, partner in enumerate(moved[start : start + chunk].T):
                total += product[run, partner]
        yield _correlations(total, residuals.targets.shape[1])


def _correlations(products: Floats, targets: int) -> Floats:
    """From products with targets and basis, (B, S, K + q), to correlations, (B, S, K)."""
    left = 1.0 - (products[:, :, targets:] ** 2).sum(axis=2, keepdims=True)
    # A moved signal that the controls explain has no correlation; it counts as extreme, to be safe.
    return products[:, :, :targets] / np.sqrt(np.where(left > NOTHING_LEFT, left, np.nan))


def _p_value(residuals: Residuals, seen: Iterator[Floats], *, size: int, exact: bool) -> Floats:
    observed = np.abs(residuals.signals.T @ residuals.targets)
    extreme = np.zeros(observed.shape)
    for rho in seen:
        extreme += (~(np.abs(rho) < observed - TIE)).sum(axis=0)
    p = extreme / size if exact else (1 + extreme) / (1 + size)
    defined = np.outer(residuals.signals.any(axis=0), residuals.targets.any(axis=0))
    return np.where(defined, p, np.nan)


def holm(p: ArrayLike) -> Floats:
    """Holm's step-down p-values: control of the chance of any false rejection.

    With p sorted ascending among m tests, max over j <= i of min(1, (m - j + 1) p_j).

    Args:
        p: p-values of any shape, NaN where there was no test; those stay NaN and do not count.

    Returns:
        Adjusted p-values of the same shape.

    Raises:
        SettingsError: a p-value is outside 0..1.
    """
    return _adjusted(p, "holm")


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Benjamini and Hochberg's p-values: control of the expected share of false rejections.

    With p sorted ascending among m tests, min over j >= i of min(1, m p_j / j).

    Args:
        p: p-values of any shape, NaN where there was no test; those stay NaN and do not count.

    Returns:
        Adjusted p-values of the same shape.

    Raises:
        SettingsError: a p-value is outside 0..1.
    """
    return _adjusted(p, "fdr_bh")


def _adjusted(p: ArrayLike, method: str) -> Floats:
    from statsmodels.stats.multitest import multipletests

    adjusted = np.array(p, dtype=np.float64)
    tested = ~np.isnan(adjusted)
    if ((adjusted[tested] < 0) | (adjusted[tested] > 1)).any():
        raise SettingsError("p-values outside 0..1", fix="p-values, NaN where there was no test")
    if tested.any():
        adjusted[tested] = multipletests(adjusted[tested], method=method)[1]
    return adjusted
