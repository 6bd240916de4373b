"""GCWM: merging in the geometry that the updates share, as far as their geometries conflict.

Wang et al., arXiv 2605.09608, Sec. 4 and App. B. On each layer the active updates D_i are merged twice by WUDI,
as they are and whitened by the barycenter of their covariances, and the two results are blended by a gate that
opens with their mean geometry conflict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from geodiag.geometry import Spectrum, cross_gram, pair_geometry, rank_tolerance
from geodiag.merging.metric import shared_metric
from geodiag.merging.settings import GateSettings, MetricSettings, WudiSettings
from geodiag.merging.wudi import Wudi, wudi


@dataclass(frozen=True)
class GateStats:
    """What the gate saw and did on one layer; None where it does not apply."""

    conflict: float | None = None
    """g, the weighted mean conflict of the pairs; None with less than two updates that have a geometry."""
    alpha: float | None = None
    """The share of the geometric merge by the gate's formula."""
    share: float | None = None
    """The share that it had: alpha, made 0 or 1 where it is that near."""
    union_rank: int | None = None
    """Columns of the union basis."""
    metric_trace: float | None = None
    """Trace of the metric in the union basis."""
    metric_iterations: int | None = None
    """Fixed-point steps of the barycenter."""
    metric_residual: float | None = None
    """Its residual after them; it has converged where this is at most the tolerance."""
    products: int | None = None
    """Matrix products of WUDI's iterations, both merges together."""
    gradient_error: float | None = None
    """The larger of both merges' gradient errors."""


def mean_conflict(spectrum: Spectrum, weights: Float[Tensor, " m"], *, lam: float) -> float | None:
    """g = sum_{i<j} w_ij gamma_ij with w_ij = w_i w_j / sum w_i w_j, over the pairs that have a conflict.

    gamma_ij is taken in the pair's own union basis, as everywhere in geodiag. In that of all updates each trace
    would grow by lambda for each further column; the distance is the same.

    Args:
        spectrum: truncated spectra of m updates.
        weights: w_i.
        lam: the regulariser lambda.

    Returns:
        g in [0, 1], or None where no pair has one.
    """
    i, j = torch.triu_indices(len(weights), len(weights), offset=1)
    C = cross_gram(spectrum.V, spectrum.V)[i, j]
    gamma = pair_geometry(spectrum.s[i], spectrum.s[j], C, lam=lam, tol=rank_tolerance(torch.float32)).conflict
    w = (weights[i] * weights[j]).to(gamma) * ~gamma.isnan()
    return (w * gamma.nan_to_num()).sum().item() / w.sum().item() if w.sum() > 0 else None


def gcwm(
    updates: Sequence[Tensor],
    spectrum: Spectrum,
    weights: Float[Tensor, " m"],
    *,
    lam: float,
    gate: GateSettings,
    metric: MetricSettings,
    solver: WudiSettings,
) -> tuple[Float[Tensor, "d_out d_in"], GateStats]:
    """D_merge = alpha D_geo + (1 - alpha) D_plain of one layer's active updates.

    D_plain is WUDI on the D_i, D_geo is WUDI on the whitened ones, recolored. With one update both are that
    update. Where no two updates have a geometry there is no conflict to measure, and the gate stays shut.

    Args:
        updates: D_i, not zero.
        spectrum: their truncated spectra.
        weights: w_i, of sum 1.
        lam: the regulariser lambda > 0.
        gate, metric, solver: how.
    """
    g = mean_conflict(spectrum, weights, lam=lam)
    share = gate.share(g) if len(updates) > 1 else 0.0
    G, found = shared_metric(
        spectrum, weights, lam=lam, mean=metric.mode == "mean", iterations=metric.iterations, tol=metric.tol
    )
    merges: list[Wudi] = []
    update = torch.zeros_like(updates[0])
    if share < 1:
        merges.append(wudi(updates, weights, solver))
        update.add_(merges[-1].update, alpha=1 - share)
    if share > 0:
        merges.append(wudi([G.whiten(D) for D in updates], weights, solver))
        update.add_(G.recolor(merges[-1].update), alpha=share)
    stats = GateStats(
        conflict=g,
        alpha=gate.alpha(g) if len(updates) > 1 else None,
        share=share if len(updates) > 1 else None,
        union_rank=G.Q.shape[1],
        metric_trace=found.matrix.trace().item(),
        metric_iterations=int(found.iterations),
        metric_residual=found.residual.item(),
        products=sum(merge.products for merge in merges),
        gradient_error=max(merge.gradient_error for merge in merges),
    )
    return update, stats
