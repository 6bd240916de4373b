"""Correlations from second moments, with levels and control columns regressed out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geodiag.stats.design import Floats
from geodiag.stats.moments import Moments, MomentSource, Shape
from geodiag.stats.ranks import centred_ranks
from geodiag.stats.statistics import Prepared

NOTHING_LEFT = 1e-10
"""Share of a sum of squares under which a residual is rounding."""


def correlations_at(source: MomentSource, weights: Floats) -> Floats:
    """Correlation of every signal with every target at each weight vector.

    Args:
        source: where the moments come from.
        weights: multiplicities of the clusters, shape (B, G).

    Returns:
        Shape (B, S, K), in [-1, 1]; NaN where a signal or target is constant, or explained by the controls.
    """
    batch = source.batch()
    parts = [
        correlations(source.at(weights[start : start + batch]), source.shape) for start in range(0, len(weights), batch)
    ]
    return np.concatenate(parts)


def correlations(moments: Moments, shape: Shape) -> Floats:
    """Correlation of every signal with every target, shape (B, S, K)."""
    cross, own = residual_moments(moments, shape)
    left, right = own[:, : shape.signals], own[:, shape.signals :]
    scale = np.sqrt(left[:, :, None] * right[:, None, :])
    rho = np.full(cross.shape, np.nan)
    np.divide(cross, scale, out=rho, where=scale > 0)
    return np.clip(rho, -1.0, 1.0)


def residual_moments(moments: Moments, shape: Shape) -> tuple[Floats, Floats]:
    """Moments of the residuals after levels and controls.

    Returns:
        Cross moments (B, S, K), and sums of squares (B, S + K), 0 where the residual is rounding.
    """
    cross, own = _without_levels(moments, shape)
    S, K, kept = shape.signals, shape.targets, shape.signals + shape.targets
    left_over = own[:, :kept]
    if shape.controls:
        # Frisch-Waugh: M_xy - M_xc M_cc^-1 M_cy; a pseudo-inverse lets controls repeat one another.
        to_signals, to_targets = cross[:, :S, K:], cross[:, S:, :K]
        inverse = np.linalg.pinv(cross[:, S:, K:], rcond=1e-10, hermitian=True)
        signals_on, targets_on = to_signals @ inverse, np.swapaxes(to_targets, 1, 2) @ inverse
        explained = np.concatenate(
            [(signals_on * to_signals).sum(2), (targets_on * np.swapaxes(to_targets, 1, 2)).sum(2)], axis=1
        )
        cross = cross[:, :S, :K] - signals_on @ to_targets
        left_over = left_over - explained
    floor = NOTHING_LEFT * np.maximum(moments.own[:, :kept], np.finfo(float).tiny)
    return cross, np.where(left_over > floor, left_over, 0.0)


def _without_levels(moments: Moments, shape: Shape) -> tuple[Floats, Floats]:
    if moments.sums is None or moments.totals is None:
        return moments.cross, moments.own
    # A level that no drawn cluster has holds no weight, and its sums are 0.
    scaled = moments.sums / np.where(moments.totals > 0, moments.totals, 1.0)[:, None, :]
    between = scaled[:, shape.left] @ np.swapaxes(moments.sums[:, shape.right], 1, 2)
    return moments.cross - between, moments.own - (scaled * moments.sums).sum(axis=2)


@dataclass(frozen=True)
class Residuals:
    """Residual scores of unit length; all zero where the residual is rounding."""

    signals: Floats
    """Shape (n, S)."""
    targets: Floats
    """Shape (n, K)."""
    basis: Floats
    """Orthonormal basis of the levels and controls that were regressed out, shape (n, q)."""


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
