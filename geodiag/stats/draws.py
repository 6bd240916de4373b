"""Every random choice of one analysis, from one seed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from math import factorial, prod

import numpy as np

from geodiag.stats.arrays import Floats, Ints
from geodiag.stats.partition import multiplicities

_CLUSTERS, _ROWS, _ARRANGEMENTS = range(3)


class Draws:
    """Resamples and shuffles.

    A set of draws depends on the seed, on what is drawn and on its size, and on nothing else: adding a column
    to a table, or a group, changes no other number in it, and two signals meet the same resamples.

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
        """Ways to hand the clusters of each stratum to one another.

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
