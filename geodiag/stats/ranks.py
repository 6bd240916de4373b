r"""Average ranks, plain and weighted.

When rows carry multiplicities w, the expanded sample is never built. With values sorted once, the average rank of
row i in the expanded sample is read off the cumulative weight before and after its group of ties,

    rank_w(i) = (below_w(i) + upto_w(i) + 1) / 2,
    below_w(i) = sum_{x_j < x_i} w_j,    upto_w(i) = sum_{x_j <= x_i} w_j.

Less its mean (N_w + 1) / 2 this is `centred`: half the weight below minus half the weight above, linear in w.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geodiag.stats.design import Floats, Ints

Real = TypeVar("Real", np.float64, np.float32)


@dataclass(frozen=True)
class Order:
    """The fixed sort order of one column."""

    rows: Ints
    """Row indices from the smallest value to the largest, shape (n,)."""
    below: Ints
    """For each row, how many values are smaller, shape (n,)."""
    upto: Ints
    """For each row, how many values are smaller or equal, itself among them, shape (n,)."""

    @classmethod
    def of(cls, column: Floats) -> Order:
        """Sort a column without missing values."""
        rows = np.argsort(column, kind="stable")
        ascending = column[rows]
        fresh = np.ones(len(column), dtype=np.bool_)
        fresh[1:] = ascending[1:] != ascending[:-1]
        edges = np.append(np.flatnonzero(fresh), len(column))
        tied = np.empty(len(column), dtype=np.intp)
        tied[rows] = np.cumsum(fresh) - 1
        return cls(rows, edges[tied], edges[tied + 1])

    def centred(self, weights: NDArray[Real]) -> NDArray[Real]:
        """Weighted average ranks less their mean, exact in floating point for integer weights.

        Args:
            weights: multiplicity of each row in each of B samples, shape (n, B); zero where a row is absent.

        Returns:
            Shape (n, B), half-integers from -N/2 to N/2; rows of weight zero hold the rank they would have.
        """
        running = np.empty((len(weights) + 1, weights.shape[1]), weights.dtype)
        running[0] = 0
        np.cumsum(weights[self.rows], axis=0, out=running[1:])
        ranks = running[self.below]
        ranks += running[self.upto]
        ranks -= running[-1]
        ranks *= 0.5
        return ranks


def centred_ranks(columns: Floats) -> Floats:
    """Average ranks of each column less their mean (n + 1) / 2, shape (n, m)."""
    ranks = np.empty_like(columns)
    for m, column in enumerate(columns.T):
        order = Order.of(column)
        ranks[:, m] = (order.below + order.upto - len(column)) / 2
    return ranks


def ranks_inside(columns: Floats, codes: Ints) -> Floats:
    """Average ranks inside each run, centred and divided by the run's length.

    u_i = (rank of row i among its run's n_g rows - (n_g + 1) / 2) / n_g, in (-1/2, 1/2). The division puts runs
    of different length on one scale: without it a run would count with the cube of its length.

    Args:
        columns: values, shape (n, m), without missing ones.
        codes: the run of each row, shape (n,).
    """
    inside = np.empty_like(columns)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        inside[rows] = centred_ranks(columns[rows]) / len(rows)
    return inside
