"""Subspace alignment (SAR) of full updates against bases, in batches that fit in memory; bases on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from geodiag.extraction.measurements.geometry.threads import Workers
from geodiag.extraction.measurements.geometry.updates import LayerUpdates, Measures
from geodiag.extraction.plan import Plan
from geodiag.geometry import Spectrum, projected_norms, sar_from_norms


@dataclass(frozen=True)
class Basis:
    """What is known of one full update of a layer, enough to compare it with others without its spectrum."""

    V: Tensor
    """Right singular vectors (d_in, rank), float64, right to single precision."""
    s: Tensor
    """Singular values (rank), float64."""
    s_1: float
    """The largest singular value before truncation."""
    energy_kept: float
    """The share of squared energy in `s`; NaN for a zero update."""
    norm: float
    """||D||_F."""


def write_bases(path: Path, bases: Mapping[str, Basis]) -> None:
    """Keeps a layer's bases by object in one safetensors file, V in single precision; a kill leaves no half.

    Args:
        path: the file.
        bases: by object, such as `task:biology`.
    """
    tensors = {}
    for name, basis in bases.items():
        tensors[f"{name}/V"] = basis.V.T.to(torch.float32).contiguous()
        tensors[f"{name}/s"] = basis.s.contiguous()
        tensors[f"{name}/values"] = torch.tensor([basis.s_1, basis.energy_kept, basis.norm], dtype=torch.float64)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(tensors, draft)
    os.replace(draft, path)


def read_bases(path: Path) -> dict[str, Basis]:
    """The bases that `write_bases` kept; none where there is no file or it cannot be read, since they can be remade."""
    try:
        tensors = load_file(path)
        names = [key.removesuffix("/s") for key in tensors if key.endswith("/s")]
        return {name: _basis(tensors, name) for name in names}
    except (OSError, SafetensorError, KeyError, ValueError):
        return {}


def _basis(tensors: Mapping[str, Tensor], name: str) -> Basis:
    s_1, energy_kept, norm = tensors[f"{name}/values"].tolist()
    V = tensors[f"{name}/V"].double().T
    return Basis(V, tensors[f"{name}/s"], s_1=s_1, energy_kept=energy_kept, norm=norm)


@dataclass(frozen=True)
class UpdateBatch:
    """Updates of one layer that are read and measured together."""

    members: tuple[int, ...]
    """Indices into the plan's updates, rising."""
    factored: bool
    """Whether they are right factors, a few rows each, rather than full matrices."""


@dataclass(frozen=True)
class Batching:
    """How many full updates of a layer are in memory at once, and in which precision they are kept."""

    block: int
    """Full updates that are measured as one batch."""
    hold: bool
    """Whether all updates stay until their subspaces have been compared, rather than be read a second time."""
    rough: torch.dtype
    """The precision in which they stay, and in which large products run."""
    ahead: int
    """Updates whose weights are read before they are asked for."""


def in_batches(updates: LayerUpdates, members: Sequence[int], block: int) -> list[UpdateBatch]:
    """Full updates in blocks, then all factored ones."""
    full: list[int] = []
    factored: list[int] = []
    for i in members:
        (factored if updates.factored(i) else full).append(i)
    batches: list[UpdateBatch] = []
    for first in range(0, len(full), block):
        batches.append(UpdateBatch(tuple(full[first : first + block]), False))
    if factored:
        batches.append(UpdateBatch(tuple(factored), True))
    return batches


def read_batch(updates: LayerUpdates, batch: UpdateBatch) -> tuple[Tensor, tuple[Measures, ...]]:
    """The updates of a batch, stacked; right factors of fewer rows than others get rows of zeros."""
    if batch.factored:
        factors = [updates.matrix(i) for i in batch.members]
        rows = max(1, *(len(C) for C in factors))
        D = torch.stack([torch.nn.functional.pad(C, (0, 0, 0, rows - len(C))) for C in factors])
        return D, tuple(updates.measures(i, C) for i, C in zip(batch.members, factors, strict=True))
    D = updates.new(len(batch.members))
    measures: list[Measures] = []
    for i, D_i in zip(batch.members, D, strict=True):
        measures.append(updates.measures(i, updates.matrix(i, out=D_i)))
    return D, tuple(measures)


def pair_alignments(
    updates: LayerUpdates,
    plan: Plan,
    spectrum: Spectrum,
    norm: Tensor,
    batches: Sequence[UpdateBatch],
    held: Mapping[UpdateBatch, Tensor],
    *,
    rough: torch.dtype,
    workers: Workers,
) -> Tensor:
    """SAR(i -> j) and SAR(j -> i) of every pair of the plan, (pairs, 2) on the CPU; NaN where either has no geometry.

    Args:
        updates: the layer's.
        plan: the pairs.
        spectrum: all updates' spectra, in the plan's order.
        norm: ||D_i||_F of all updates, on the CPU.
        batches: the updates that pairs are made of.
        held: those of the batches that are still in memory; others are read again.
        rough: the precision of the products.
        workers: what computes; each takes one batch at a time.
    """
    projected = _projections(updates, plan, spectrum, norm, batches, held, rough=rough, workers=workers).cpu()
    i, j = plan.ends
    both = torch.stack([sar_from_norms(projected[i, j], norm[i]), sar_from_norms(projected[j, i], norm[j])], dim=-1)
    some = spectrum.rank.cpu() > 0
    return torch.where((some[i] & some[j])[:, None], both, torch.nan)


def _projections(
    updates: LayerUpdates,
    plan: Plan,
    spectrum: Spectrum,
    norm: Tensor,
    batches: Sequence[UpdateBatch],
    held: Mapping[UpdateBatch, Tensor],
    *,
    rough: torch.dtype,
    workers: Workers,
) -> Tensor:
    """||D_i V_j||_F at [i, j] for the pairs of the plan; entries of other pairs have no meaning."""
    V = spectrum.V
    compared = torch.zeros(len(V), len(V), dtype=torch.bool)
    compared[plan.ends] = True
    compared |= compared.T.clone()
    rounded = V.to(rough)
    rest = (V - rounded).to(rough) if rough == torch.bfloat16 else None
    projected = torch.full((len(V), len(V)), torch.nan, dtype=torch.float64, device=V.device)

    def project(batch: UpdateBatch) -> None:
        if batch.factored:
            projected[list(batch.members)] = _all_projections(held[batch], V)
            return
        for place, i in enumerate(batch.members):
            others = compared[i].nonzero()[:, 0].to(V.device)
            if not len(others):
                continue
            D = held[batch][place] if batch in held else updates.matrix(i).to(rough)
            if rest is None:
                projected[i, others] = projected_norms(D, rounded[others])
            else:
                core, size = spectrum.s[i, :, None] * V[i].mT, float(norm[i])
                projected[i, others] = projected_norms(D, rounded[others], norm=size, core=core, rest=rest[others])

    workers.map(project, batches)
    return projected


def _all_projections(C: Tensor, V: Tensor) -> Tensor:
    """||C_i V_j||_F of every right factor and every basis, in one product."""
    m, rows, d_in = C.shape
    n, _, k = V.shape
    CV = C.reshape(m * rows, d_in) @ V.permute(1, 0, 2).reshape(d_in, n * k)
    return torch.linalg.vector_norm(CV.view(m, rows, n, k), dim=(1, 3))
