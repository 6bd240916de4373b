"""The scores of the sample itself, with levels and controls regressed out: what permutations move about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geodiag.stats.arrays import Floats
from geodiag.stats.moments import Shape
from geodiag.stats.ranks import centred_ranks
from geodiag.stats.statistics import Prepared

NOTHING_LEFT = 1e-10
"""Share of a sum of squares under which a residual is rounding."""


@dataclass(frozen=True)
class Residuals:
    """Residual scores of unit length; all zero where nothing is left."""

    signals: Floats
    """Shape (n, S)."""
    targets: Floats
    """Shape (n, K)."""
    basis: Floats
    """Orthonormal columns that span what was regressed out, shape (n, q)."""


def residual_scores(prepared: Prepared, shape: Shape) -> Residuals:
    """Scores of the sample less their projection on levels and controls."""
    scores = centred_ranks(prepared.values) if prepared.ranked else prepared.values
    kept = shape.signals + shape.targets
    basis = _basis(scores[:, kept:], prepared)
    left = scores[:, :kept] - basis @ (basis.T @ scores[:, :kept])
    before, after = (scores[:, :kept] ** 2).sum(axis=0), (left**2).sum(axis=0)
    length = np.where(after > NOTHING_LEFT * before, np.sqrt(after), np.inf)
    left = left / length
    return Residuals(left[:, : shape.signals], left[:, shape.signals :], basis)


def _basis(controls: Floats, prepared: Prepared) -> Floats:
    columns = [controls]
    if prepared.levels is not None:
        columns.append((prepared.levels[:, None] == np.arange(prepared.levels.max() + 1)).astype(np.float64))
    spanned = np.concatenate(columns, axis=1)
    lengths = np.linalg.norm(spanned, axis=0)
    spanned = spanned[:, lengths > 0] / lengths[lengths > 0]
    if not spanned.shape[1]:
        return spanned
    vectors, sizes, _ = np.linalg.svd(spanned, full_matrices=False)
    return np.asarray(vectors[:, sizes > 1e-7 * sizes[0]], dtype=np.float64)
