"""Weighted second moments of scores at many weight vectors at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from geodiag.stats.design import Floats, Ints
from geodiag.stats.ranks import Order
from geodiag.stats.statistics import Prepared


@lru_cache(maxsize=64)
def _terms(count: int, degree: int) -> tuple[Ints, Ints, Ints]:
    """Distinct monomials of a symmetric form: for each index tuple its monomial, sorted, and where each starts."""
    tuples = np.indices((count,) * degree).reshape(degree, -1)
    key = np.ravel_multi_index(tuple(np.sort(tuples, axis=0)), (count,) * degree)
    by_monomial = np.argsort(key, kind="stable")
    distinct, starts = np.unique(key[by_monomial], return_index=True)
    factors = np.array(np.unravel_index(distinct, (count,) * degree), dtype=np.intp)
    return by_monomial, starts, factors


def term_count(clusters: int, *, degree: int) -> int:
    """Number of distinct monomials of one degree in G variables."""
    return {1: clusters, 2: clusters * (clusters + 1) // 2}.get(degree, clusters * (clusters + 1) * (clusters + 2) // 6)


def collect(form: Floats, *, degree: int) -> Floats:
    """Coefficients of the distinct monomials of a form.

    Args:
        form: sum_{g,h,..} form[g, h, .., *] W_g W_h .., the first `degree` axes of length G.
        degree: 2 or 3.

    Returns:
        Shape (terms, *rest).
    """
    by_monomial, starts, _ = _terms(len(form), degree)
    flat = form.reshape(len(by_monomial), -1)[by_monomial]
    return np.add.reduceat(flat, starts, axis=0).reshape(len(starts), *form.shape[degree:])


def monomials(weights: Floats, *, degree: int) -> Floats:
    """The distinct monomials of one degree at each weight vector.

    Args:
        weights: multiplicities, shape (B, G).
        degree: 2 or 3.

    Returns:
        Shape (terms, B), in the order of `collect`.
    """
    _, _, factors = _terms(weights.shape[1], degree)
    across = np.ascontiguousarray(weights.T)
    value = across[factors[0]]
    for factor in factors[1:]:
        value *= across[factor]
    return value


CELLS = 2**21
"""How many numbers one temporary array may hold."""
_TABLE_CELLS = 2**28  # single precision: 1 GiB for the comparison table of the cubic form
# Nanoseconds on one x86 core, fitted to tables of 20 to 6,000 rows in 4 to 80 clusters; they only pick the quicker way.
_RANK, _PRODUCT, _MONOMIAL, _TERM_PRODUCT, _COLLECT = 12.0, 1.0, 6.5, 0.1, 30.0


@dataclass(frozen=True)
class Shape:
    """Numbers of signals, targets and controls, in this order of columns."""

    signals: int
    """S."""
    targets: int
    """K."""
    controls: int
    """C."""

    @property
    def left(self) -> Ints:
        """Columns of the signals and the controls."""
        return np.r_[: self.signals, self.signals + self.targets : self.total].astype(np.intp)

    @property
    def right(self) -> Ints:
        """Columns of the targets and the controls."""
        return np.arange(self.signals, self.total, dtype=np.intp)

    @property
    def total(self) -> int:
        """All columns."""
        return self.signals + self.targets + self.controls


@dataclass(frozen=True)
class Moments:
    """Sums over rows at B weight vectors; scores of ranks are centred already."""

    cross: Floats
    """sum_i w_i u_i v_i for u in [signals, controls], v in [targets, controls], shape (B, S + C, K + C)."""
    own: Floats
    """sum_i w_i u_i^2, shape (B, S + K + C)."""
    sums: Floats | None
    """sum_i w_i u_i over the rows of each level, shape (B, S + K + C, L)."""
    totals: Floats | None
    """sum_i w_i over the rows of each level, shape (B, L)."""


class MomentSource(Protocol):
    """A source of moments at given weights."""

    shape: Shape

    def at(self, weights: Floats) -> Moments:
        """The moments at multiplicities of shape (B, G)."""
        ...

    def batch(self) -> int:
        """Weight vectors to evaluate at once, so that temporary arrays stay bounded."""
        ...


def moment_source(prepared: Prepared, shape: Shape, *, resamples: int) -> MomentSource:
    """The cheapest source for this many weight vectors."""
    if not prepared.ranked:
        return FixedScores(prepared, shape)
    cubic = prefers_polynomials(
        rows=len(prepared.values), clusters=prepared.design.clusters.count, shape=shape, resamples=resamples
    )
    return RankPolynomials(prepared, shape) if cubic else RankRows(prepared, shape)


def prefers_polynomials(*, rows: int, clusters: int, shape: Shape, resamples: int) -> bool:
    """Whether the cubic form is cheaper than writing the ranks out, and fits in memory."""
    products = len(shape.left) * len(shape.right) + shape.total
    if rows * clusters * shape.total > _TABLE_CELLS or clusters**3 * products > 2**25:
        return False
    written = resamples * rows * (_RANK * shape.total + _PRODUCT * products)
    terms = resamples * term_count(clusters, degree=3) * (_MONOMIAL + _TERM_PRODUCT * products)
    build = products * (_COLLECT * clusters**3 + _TERM_PRODUCT * rows * clusters**2)
    return terms + build < written


def level_indicator(levels: Ints) -> Floats:
    """Indicator of the levels: 1 where row i is at level s, shape (L, n)."""
    return (np.arange(levels.max() + 1)[:, None] == levels).astype(np.float64)


class FixedScores:
    """Moments linear in the multiplicities: one sum a cluster."""

    def __init__(self, prepared: Prepared, shape: Shape) -> None:
        scores, clusters = prepared.values, prepared.design.clusters
        self.shape = shape
        groups = [np.flatnonzero(clusters.codes == g) for g in range(clusters.count)]
        left, right = scores[:, shape.left], scores[:, shape.right]
        self._cross = np.stack([left[rows].T @ right[rows] for rows in groups])
        self._own = np.stack([(scores[rows] ** 2).sum(axis=0) for rows in groups])
        self._sums = self._totals = None
        if prepared.levels is not None:
            level = level_indicator(prepared.levels)
            self._sums = np.stack([(level[:, rows] @ scores[rows]).T for rows in groups])
            self._totals = np.stack([level[:, rows].sum(axis=1) for rows in groups])

    def batch(self) -> int:
        """Bounded by the products of columns, and by the level sums."""
        levels = 0 if self._totals is None else self._totals.shape[1]
        return max(1, CELLS // (self._cross[0].size + self.shape.total * (levels + 1)))

    def at(self, weights: Floats) -> Moments:
        """The moments at multiplicities of shape (B, G)."""
        sums = None if self._sums is None else np.tensordot(weights, self._sums, axes=1)
        totals = None if self._totals is None else weights @ self._totals
        return Moments(np.tensordot(weights, self._cross, axes=1), weights @ self._own, sums, totals)


class RankRows:
    """Moments of weighted ranks that are written out for every row."""

    def __init__(self, prepared: Prepared, shape: Shape) -> None:
        self.shape = shape
        self._codes = prepared.design.clusters.codes
        self._orders = [Order.of(column) for column in prepared.values.T]
        self._levels = None if prepared.levels is None else level_indicator(prepared.levels)

    def batch(self) -> int:
        """Bounded by ranks of all columns and rows."""
        return max(1, CELLS // (self.shape.total * len(self._codes)))

    def at(self, weights: Floats) -> Moments:
        """The moments at multiplicities of shape (B, G)."""
        w = np.ascontiguousarray(weights.T)[self._codes]
        ranks = np.stack([order.centred(w) for order in self._orders])
        weighted = ranks * w
        # (n, B) per column, resamples last: sums over rows stay contiguous.
        right = ranks[self.shape.right]
        cross = np.stack([np.einsum("nb,knb->bk", weighted[c], right) for c in self.shape.left], axis=1)
        own = np.einsum("mnb,mnb->bm", weighted, ranks)
        if self._levels is None:
            return Moments(cross, own, None, None)
        sums = np.moveaxis(self._levels @ weighted, 2, 0)
        return Moments(cross, own, sums, (self._levels @ w).T)


class RankPolynomials:
    """Moments of weighted ranks as cubic forms in the multiplicities of the clusters."""

    def __init__(self, prepared: Prepared, shape: Shape) -> None:
        self.shape = shape
        clusters = prepared.design.clusters
        table = comparison_table(prepared)
        groups = [np.flatnonzero(clusters.codes == g) for g in range(clusters.count)]
        cross, own = zip(*(_products(table[:, rows], shape) for rows in groups), strict=True)
        self._cross = collect(np.stack(cross), degree=3)
        self._own = collect(np.stack(own), degree=3)
        self._sums = self._totals = None
        if prepared.levels is not None:
            level = level_indicator(prepared.levels)
            sums = [np.moveaxis(level[:, rows] @ table[:, rows], 2, 0) for rows in groups]
            self._sums = collect(np.stack(sums), degree=2)
            self._totals = np.stack([level[:, rows].sum(axis=1) for rows in groups])

    def batch(self) -> int:
        """Bounded by the monomials."""
        return max(1, CELLS // (len(self._cross) + self.shape.total * len(self.shape.right)))

    def at(self, weights: Floats) -> Moments:
        """The moments at multiplicities of shape (B, G)."""
        cubes = monomials(weights, degree=3).T
        cross = np.tensordot(cubes, self._cross, axes=1)
        own = cubes @ self._own
        if self._sums is None or self._totals is None:
            return Moments(cross, own, None, None)
        sums = np.tensordot(monomials(weights, degree=2).T, self._sums, axes=1)
        return Moments(cross, own, sums, weights @ self._totals)


def comparison_table(prepared: Prepared) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
    """Half the rows of each cluster that lie below a row, minus half of those above: shape (m, n, G).

    The coefficients of a centred weighted rank. Half-integers below 2^22 are exact in single precision.
    """
    ones = prepared.design.clusters.indicator(np.float32)
    table = np.empty((prepared.values.shape[1], *ones.shape), np.float32)
    for m, column in enumerate(prepared.values.T):
        table[m] = Order.of(column).centred(ones)
    return table


def _products(table: np.ndarray[tuple[int, int, int], np.dtype[np.float32]], shape: Shape) -> tuple[Floats, Floats]:
    """One cluster's share of the cubic forms: shapes (G, G, S + C, K + C) and (G, G, m)."""
    ranks = table.astype(np.float64)
    _, n, count = ranks.shape
    left = np.moveaxis(ranks[shape.left], 1, 2).reshape(-1, n)
    right = np.moveaxis(ranks[shape.right], 1, 0).reshape(n, -1)
    cross = (left @ right).reshape(len(shape.left), count, len(shape.right), count)
    own = np.moveaxis(ranks, 1, 2) @ ranks
    return cross.transpose(1, 3, 0, 2), own.transpose(1, 2, 0)
