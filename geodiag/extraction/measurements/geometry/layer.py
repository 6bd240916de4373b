"""Geometry of one layer of one run: read its updates, measure and compare them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from geodiag.extraction.measurements.geometry.alignment import (
    Basis,
    Batching,
    UpdateBatch,
    in_batches,
    pair_alignments,
    read_batch,
)
from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.extraction.measurements.geometry.threads import Workers
from geodiag.extraction.measurements.geometry.updates import LayerUpdates, Measures
from geodiag.extraction.plan import Plan, state_index
from geodiag.geometry import (
    PairGeometry,
    Spectrum,
    added_rank,
    cross_gram,
    extend_basis,
    pair_geometry,
    rank_tolerance,
    right_spectrum,
)

_TOLERANCE = rank_tolerance(torch.float32)
"""Weights are stored in single precision or coarser, so even exact spectra carry directions apart by that rounding."""

_Result = TypeVar("_Result", Spectrum, PairGeometry)


@dataclass(frozen=True)
class LayerGeometry:
    """Everything computed on one layer, on the CPU, in the order of the plan."""

    measures: dict[int, Measures]
    """By update, of those that were measured here."""
    norm: Tensor
    """||D||_F of all updates, float64; NaN of those that nothing new is compared with."""
    spectrum: Spectrum
    """All updates' truncated spectra; empty ones of updates that nothing new is compared with."""
    pairs: PairGeometry
    """One an entry of `Plan.pairs`."""
    sar: Tensor
    """(pairs, 2): SAR(i -> j) and SAR(j -> i); NaN where either has no geometry."""
    union_ranks: tuple[tuple[int, int], ...]
    """A new step's ranks of the union bases without and with the state."""

    def bases(self, plan: Plan) -> dict[str, Basis]:
        """The bases of the task updates that were measured here, by object."""
        bases: dict[str, Basis] = {}
        for i, m in self.measures.items():
            if plan.updates[i].role == "task":
                rank = int(self.spectrum.rank[i])
                bases[plan.updates[i].object] = Basis(
                    V=self.spectrum.V[i, :, :rank],
                    s=self.spectrum.s[i, :rank],
                    s_1=float(self.spectrum.s_1[i]),
                    energy_kept=float(self.spectrum.energy_kept[i]),
                    norm=m.norm,
                )
        return bases


@dataclass(frozen=True)
class _Measured:
    """A batch of updates with what is known of each alone."""

    batch: UpdateBatch
    measures: tuple[Measures, ...]
    norm: Tensor
    """||D||_F of each, float64."""
    spectrum: Spectrum
    kept: Tensor | None
    """The updates themselves in rough precision, where they are held."""


class LayerWork:
    """One layer's updates in the order in which they are measured.

    Args:
        updates: the layer's updates.
        plan: what to compute.
        settings: how.
        batching: what is held.
        known: bases of updates of stored steps, by object; they are not measured again.
    """

    def __init__(
        self,
        updates: LayerUpdates,
        plan: Plan,
        settings: GeometrySettings,
        batching: Batching,
        known: Mapping[str, Basis],
    ) -> None:
        self.updates, self.plan, self.settings, self.batching = updates, plan, settings, batching
        self.bases: dict[int, Basis] = {}
        measured: list[int] = []
        for i in plan.needed:
            name = plan.updates[i].object
            # A factored update is as quickly measured again.
            if i not in plan.new and plan.updates[i].role == "task" and name in known and not updates.factored(i):
                self.bases[i] = known[name]
            else:
                measured.append(i)
        self.batches = in_batches(updates, measured, batching.block)
        self.order: list[int] = []
        """The updates that are measured, in the order in which their weights are needed."""
        for batch in self.batches:
            self.order += batch.members


def layer_geometry(work: LayerWork, workers: Workers, *, done: Callable[[int], None] = lambda _: None) -> LayerGeometry:
    """Computes one layer; factored updates are small and all held.

    SAR needs every full update against the others' subspaces, so full updates are read a second time when they
    cannot all be held; otherwise each is read once.

    Args:
        work: what to compute.
        workers: what computes; each takes one batch at a time.
        done: told how many more updates have been measured.
    """
    updates, plan = work.updates, work.plan
    measured = workers.map(partial(_measure, work, done), work.batches)
    measures: dict[int, Measures] = {}
    held: dict[UpdateBatch, Tensor] = {}
    for one in measured:
        measures.update(zip(one.batch.members, one.measures, strict=True))
        if one.kept is not None:
            held[one.batch] = one.kept
    spectrum, norm = _in_plan_order(measured, work.bases, len(plan.updates))
    pairs = workers.start(partial(_pair_geometry, spectrum, plan, lam=work.settings.lam))
    unions = workers.start(partial(_union_ranks, spectrum.V.float(), plan))
    batches = work.batches + in_batches(updates, list(work.bases), 1)
    sar = pair_alignments(updates, plan, spectrum, norm, batches, held, rough=work.batching.rough, workers=workers)
    return LayerGeometry(
        measures=measures,
        norm=norm,
        spectrum=_to_cpu(spectrum),
        pairs=_to_cpu(pairs.result()),
        sar=sar,
        union_ranks=unions.result(),
    )


def _measure(work: LayerWork, done: Callable[[int], None], batch: UpdateBatch) -> _Measured:
    """Reads a batch and finds its spectra."""
    updates, settings, batching = work.updates, work.settings, work.batching
    D, measures = read_batch(updates, batch)
    done(len(batch.members))
    rough = D if batch.factored else D.to(batching.rough)
    norm = torch.tensor([m.norm for m in measures], dtype=torch.float64, device=D.device)
    spectrum = right_spectrum(
        D,
        norm,
        rank=settings.rank,
        energy=settings.energy,
        lam=settings.lam,
        energy_of=settings.energy_of,
        method="thin" if batch.factored else settings.spectrum,
        rough=rough,
    )
    if rough is not D:
        updates.give_back(D)
    return _Measured(batch, measures, norm, spectrum, rough if batch.factored or batching.hold else None)


def _pair_geometry(spectrum: Spectrum, plan: Plan, *, lam: float) -> PairGeometry:
    i, j = torch.tensor(plan.ends, dtype=torch.int64)
    left, row = i.unique(return_inverse=True)
    right, column = j.unique(return_inverse=True)
    C = cross_gram(spectrum.V[left], spectrum.V[right])  # few states, if any, are compared with one another
    return pair_geometry(spectrum.s[i], spectrum.s[j], C[row, column], lam=lam, tol=_TOLERANCE)


def _union_ranks(V: Tensor, plan: Plan) -> tuple[tuple[int, int], ...]:
    """Ranks of span(A_t) and of span(A_t + S_t); a set that grew by one extends the basis of the one before.

    Single precision is enough: what counts as a direction of its own is a thousand times what it rounds.
    """
    ranks: list[tuple[int, int]] = []
    before: tuple[int, ...] = ()
    Q = V.new_zeros(V.shape[1], 0)
    for t, members in enumerate(plan.active[plan.stored_steps :], start=plan.stored_steps + 1):
        kept = members[: len(before)] == before
        Q = Q if kept else V.new_zeros(V.shape[1], 0)
        for member in members[len(before) :] if kept else members:
            Q = extend_basis(Q, V[member], tol=_TOLERANCE)
        before = members
        ranks.append((Q.shape[1], Q.shape[1] + added_rank(Q, V[state_index(t)], tol=_TOLERANCE)))
    return tuple(ranks)


def _in_plan_order(measured: Sequence[_Measured], bases: Mapping[int, Basis], n: int) -> tuple[Spectrum, Tensor]:
    """All spectra as one, no wider than the most directions that any update kept, and ||D||_F (n,) on the CPU.

    Where there is none, the spectrum is empty and the norm NaN.
    """
    like = measured[0].spectrum.V
    rank = torch.zeros(n, dtype=torch.int64, device=like.device)
    s_1, energy_kept, norm = like.new_zeros(n), like.new_full((n,), torch.nan), like.new_full((n,), torch.nan)
    for one in measured:
        members, spectrum = list(one.batch.members), one.spectrum
        rank[members], s_1[members], energy_kept[members] = spectrum.rank, spectrum.s_1, spectrum.energy_kept
        norm[members] = one.norm
    for i, basis in bases.items():
        rank[i], s_1[i], energy_kept[i], norm[i] = len(basis.s), basis.s_1, basis.energy_kept, basis.norm
    width = max(1, int(rank.max()))
    V, s = like.new_zeros(n, like.shape[1], width), like.new_zeros(n, width)
    for one in measured:
        members, spectrum = list(one.batch.members), one.spectrum
        k = min(width, spectrum.V.shape[-1])
        V[members, :, :k], s[members, :k] = spectrum.V[..., :k], spectrum.s[..., :k]
    for i, basis in bases.items():
        k = len(basis.s)
        V[i, :, :k], s[i, :k] = basis.V.to(like.device), basis.s.to(like.device)
    return Spectrum(V=V, s=s, rank=rank, s_1=s_1, energy_kept=energy_kept), norm.cpu()


def _to_cpu(result: _Result) -> _Result:
    """The same result with every tensor on the CPU."""
    moved: dict[str, Any] = {}
    for name, value in vars(result).items():
        moved[name] = value.cpu()
    return replace(result, **moved)
