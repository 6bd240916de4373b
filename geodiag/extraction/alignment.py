"""How much of each update of a layer lies in the others' subspaces (SAR): full updates against bases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from geodiag.extraction.batches import Batch
from geodiag.extraction.plan import Plan
from geodiag.extraction.weights import LayerUpdates
from geodiag.extraction.workers import Workers
from geodiag.geometry import Spectrum, projected_norms, sar_from_norms


def pair_alignments(
    updates: LayerUpdates,
    plan: Plan,
    spectrum: Spectrum,
    norms: Mapping[int, float],
    batches: Sequence[Batch],
    held: Mapping[Batch, Tensor],
    *,
    rough: torch.dtype,
    workers: Workers,
) -> Tensor:
    """SAR(i -> j) and SAR(j -> i) of every pair of the plan, (pairs, 2) on the CPU; NaN where either has no geometry.

    Args:
        updates: the layer's.
        plan: the pairs.
        spectrum: all updates' spectra, in the plan's order.
        norms: ||D_i||_F by update.
        batches: the updates that pairs are made of.
        held: those of the batches that are still in memory; others are read again.
        rough: the precision of the products.
        workers: what computes; each takes one batch at a time.
    """
    projected = _projections(updates, plan, spectrum.V, batches, held, rough=rough, workers=workers).cpu()
    norm = torch.tensor([norms.get(i, torch.nan) for i in range(len(projected))], dtype=torch.float64)
    i, j = plan.ends
    both = torch.stack([sar_from_norms(projected[i, j], norm[i]), sar_from_norms(projected[j, i], norm[j])], dim=-1)
    some = spectrum.rank.cpu() > 0
    return torch.where((some[i] & some[j])[:, None], both, torch.nan)


def _projections(
    updates: LayerUpdates,
    plan: Plan,
    V: Tensor,
    batches: Sequence[Batch],
    held: Mapping[Batch, Tensor],
    *,
    rough: torch.dtype,
    workers: Workers,
) -> Tensor:
    """||D_i V_j||_F at [i, j] for the pairs of the plan; what stands elsewhere has no meaning."""
    partners = plan.partners()
    rounded = V.to(rough)
    found = torch.full((len(V), len(V)), torch.nan, dtype=torch.float64, device=V.device)

    def project(batch: Batch) -> None:
        if batch.factored:
            found[list(batch.members)] = _all_projections(held[batch], V)
            return
        for row, i in enumerate(batch.members):
            if i in partners:
                others = torch.tensor(partners[i], device=V.device)
                D = held[batch][row] if batch in held else updates.matrix(i).to(rough)
                found[i, others] = projected_norms(D, rounded[others])

    workers.map(project, batches)
    return found


def _all_projections(C: Tensor, V: Tensor) -> Tensor:
    """||C_i V_j||_F of every right factor and every basis, in one product."""
    m, rows, d_in = C.shape
    n, _, k = V.shape
    CV = C.reshape(m * rows, d_in) @ V.permute(1, 0, 2).reshape(d_in, n * k)
    return torch.linalg.vector_norm(CV.view(m, rows, n, k), dim=(1, 3))
