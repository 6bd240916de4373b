"""Polynomials in the multiplicities of a resample.

A centred weighted rank is linear in the multiplicities W_g of the clusters, so a sum of w_i times two ranks is a
cubic form in W whose coefficients do not depend on the resample. With G clusters it has G(G+1)(G+2)/6 terms, however
many rows there are: after one pass over the rows a resample costs one row of a matrix product.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from geodiag.stats.arrays import Floats, Ints


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
