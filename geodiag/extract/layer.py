"""One layer of one run: its updates are read, measured and compared, and only numbers stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from geodiag.extract.plan import Pair, Plan
from geodiag.extract.settings import Settings
from geodiag.extract.weights import LayerWeights, Measures
from geodiag.geometry import (
    PairGeometry,
    Spectrum,
    added_rank,
    cross_gram,
    extend_basis,
    pair_geometry,
    projected_norms,
    rank_tolerance,
    right_spectrum,
    sar_from_norms,
)

_Result = TypeVar("_Result", Spectrum, PairGeometry)


@dataclass(frozen=True)
class LayerGeometry:
    """Everything computed on one layer, on the CPU, in the order of the plan."""

    measures: tuple[Measures, ...]
    """One an update."""
    spectrum: Spectrum
    """All updates' truncated spectra."""
    pairs: PairGeometry
    """One an entry of `Plan.pairs`."""
    sar: Tensor
    """(pairs, 2): SAR(i -> j) and SAR(j -> i); NaN where either has no geometry."""
    union_ranks: tuple[tuple[int, int], ...]
    """A step's ranks of the union bases without and with the state."""


def layer_geometry(weights: LayerWeights, plan: Plan, settings: Settings, *, block: int) -> LayerGeometry:
    """Computes one layer, holding at most `block` full updates at a time.

    SAR needs every full update against the others' subspaces, so updates are read a second time when they
    do not all fit in one block; otherwise each is read once.

    Args:
        weights: the layer's weights.
        plan: what to compute.
        settings: how.
        block: the most updates held in full.
    """
    n = len(plan.updates)
    blocks = [range(first, min(first + block, n)) for first in range(0, n, block)]
    measures: list[Measures] = []
    spectra: list[Spectrum] = []
    D = torch.empty(0)
    for members in blocks:
        deltas: list[Tensor] = []
        for i in members:
            deltas.append(weights.delta(i))
            measures.append(weights.measures(i, deltas[-1]))
        D = torch.stack(deltas)
        spectra.append(_spectrum(D, measures[-len(members) :], settings))
    spectrum = _concatenate(spectra)
    projected = _projections(weights, plan, spectrum.V.to(D.dtype), blocks, D if len(blocks) == 1 else None)
    # Weights are stored in single precision or coarser, so even exact spectra carry directions apart by that rounding.
    tol = rank_tolerance(torch.float32)
    return LayerGeometry(
        measures=tuple(measures),
        spectrum=_to_cpu(spectrum),
        pairs=_to_cpu(_pair_geometry(spectrum, plan.pairs, lam=settings.lam, tol=tol)),
        sar=_sar(projected.cpu(), measures, spectrum.rank.cpu(), plan.pairs),
        union_ranks=tuple(_union_ranks(spectrum, plan, tol=tol)),
    )


def _spectrum(D: Tensor, measures: Sequence[Measures], settings: Settings) -> Spectrum:
    norm = torch.tensor([m.norm for m in measures], dtype=torch.float64, device=D.device)
    return right_spectrum(
        D,
        norm,
        rank=settings.rank,
        energy=settings.energy,
        lam=settings.lam,
        energy_of=settings.energy_of,
        method=settings.spectrum,
    )


def _projections(weights: LayerWeights, plan: Plan, V: Tensor, blocks: Sequence[range], held: Tensor | None) -> Tensor:
    """||D_i V_j||_F at [i, j] for the pairs of the plan, NaN elsewhere."""
    partners = plan.partners()
    found = torch.full((len(V), len(V)), torch.nan, dtype=torch.float64, device=V.device)
    for members in blocks:
        for row, i in enumerate(members):
            if i in partners:
                others = torch.tensor(partners[i], device=V.device)
                found[i, others] = projected_norms(held[row] if held is not None else weights.delta(i), V[others])
    return found


def _sar(projected: Tensor, measures: Sequence[Measures], rank: Tensor, pairs: Sequence[Pair]) -> Tensor:
    norm = torch.tensor([m.norm for m in measures], dtype=torch.float64)
    i, j = _ends(pairs)
    both = torch.stack([sar_from_norms(projected[i, j], norm[i]), sar_from_norms(projected[j, i], norm[j])], dim=-1)
    return torch.where(((rank[i] > 0) & (rank[j] > 0))[:, None], both, torch.nan)


def _pair_geometry(spectrum: Spectrum, pairs: Sequence[Pair], *, lam: float, tol: float) -> PairGeometry:
    i, j = _ends(pairs)
    C = cross_gram(spectrum.V)[i, j]
    return pair_geometry(spectrum.s[i], spectrum.s[j], C, lam=lam, tol=tol)


def _ends(pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    return torch.tensor([p.i for p in pairs]), torch.tensor([p.j for p in pairs])


def _union_ranks(spectrum: Spectrum, plan: Plan, *, tol: float) -> Iterator[tuple[int, int]]:
    """Ranks of span(A_t) and of span(A_t + S_t); a set that grew by one extends the basis of the one before."""
    V = spectrum.V
    before: tuple[int, ...] = ()
    Q = V.new_zeros(V.shape[1], 0)
    for t, members in enumerate(plan.active, start=1):
        kept = members[: len(before)] == before
        Q = Q if kept else V.new_zeros(V.shape[1], 0)
        for member in members[len(before) :] if kept else members:
            Q = extend_basis(Q, V[member], tol=tol)
        before = members
        yield Q.shape[1], Q.shape[1] + added_rank(Q, V[2 * t - 1], tol=tol)


def _concatenate(spectra: Sequence[Spectrum]) -> Spectrum:
    return Spectrum(
        V=torch.cat([s.V for s in spectra]),
        s=torch.cat([s.s for s in spectra]),
        rank=torch.cat([s.rank for s in spectra]),
        s_1=torch.cat([s.s_1 for s in spectra]),
        energy_kept=torch.cat([s.energy_kept for s in spectra]),
    )


def _to_cpu(result: _Result) -> _Result:
    """The same result with every tensor on the CPU."""
    moved: dict[str, Any] = {name: v.cpu() for name, v in vars(result).items() if isinstance(v, Tensor)}
    return replace(result, **moved)
