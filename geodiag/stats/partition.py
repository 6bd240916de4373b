"""One way of splitting the rows into clusters: what is drawn, left out and exchanged as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from geodiag.stats.arrays import Bools, Floats, Ints, encode


@dataclass(frozen=True)
class Partition:
    """Rows split into G clusters.

    Steps of one run share the run's history, so a run is the smallest unit that can be called independent;
    runs that share experts, a seed or a base call for a higher cluster, built from those labels instead.
    """

    names: tuple[Any, ...]
    """The clusters' labels, sorted, length G."""
    codes: Ints
    """Each row's cluster, shape (n,), values 0..G-1; every cluster has a row."""

    @classmethod
    def from_labels(cls, labels: ArrayLike | Sequence[Any], *, where: str = "clusters") -> Partition:
        """The partition in which rows with equal labels are together."""
        names, codes = encode(labels, where=where)
        return cls(tuple(names), codes)

    @property
    def count(self) -> int:
        """Number of clusters, G."""
        return len(self.names)

    @property
    def sizes(self) -> Ints:
        """Rows in each cluster, shape (G,)."""
        return np.bincount(self.codes, minlength=self.count).astype(np.intp)

    def take(self, rows: Bools | Ints) -> Partition:
        """The partition of some of the rows; clusters that keep no row are gone."""
        kept, codes = np.unique(self.codes[rows], return_inverse=True)
        return Partition(tuple(self.names[k] for k in kept), codes.astype(np.intp))

    def indicator(self, dtype: type[np.floating[Any]] = np.float64) -> Any:
        """Row i belongs to cluster g: ones and zeros, shape (n, G)."""
        return (self.codes[:, None] == np.arange(self.count)).astype(dtype)

    def leave_one_out(self) -> Floats:
        """Multiplicities of the G samples that lack one cluster each, shape (G, G)."""
        return 1.0 - np.eye(self.count)


def multiplicities(drawn: Ints, *, count: int) -> Floats:
    """How often each cluster was drawn.

    A resample is nothing but these numbers: the rows and their order never change.

    Args:
        drawn: cluster indices, one resample a row, shape (B, draws).
        count: number of clusters, G.

    Returns:
        Shape (B, G); each row sums to the number of draws.
    """
    offsets = np.arange(len(drawn))[:, None] * count
    counts = np.bincount((drawn + offsets).ravel(), minlength=len(drawn) * count)
    return counts.reshape(len(drawn), count).astype(np.float64)
