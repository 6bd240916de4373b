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

_Result = TypeVar("_Result", Spectrum, PairGeometry)


@dataclass(frozen=True)
class LayerGeometry:
    """Everything computed on one layer, on the CPU, in the order of the plan."""

    measures: dict[int, Measures]
    """By update, of those that were measured here."""
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
        return {
            plan.updates[i].object: Basis(
                V=self.spectrum.V[i, :, : int(self.spectrum.rank[i])],
                s=self.spectrum.s[i, : int(self.spectrum.rank[i])],
                s_1=float(self.spectrum.s_1[i]),
                energy_kept=float(self.spectrum.energy_kept[i]),
                norm=m.norm,
            )
            for i, m in self.measures.items()
            if plan.updates[i].role == "task"
        }


@dataclass(frozen=True)
class _Measured:
    """A batch of updates with what is known of each alone."""

    measures: tuple[Measures, ...]
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
        self.bases = {i: known[plan.updates[i].object] for i in _spared(updates, plan, known)}
        self.batches = in_batches(updates, [i for i in plan.needed if i not in self.bases], batching.block)

    @property
    def order(self) -> list[int]:
        """The updates that are measured, in the order in which their weights are needed."""
        return [i for batch in self.batches for i in batch.members]


def layer_geometry(work: LayerWork, workers: Workers, *, done: Callable[[int], None] = lambda _: None) -> LayerGeometry:
    """Computes one layer; factored updates are small and all held.

    SAR needs every full update against the others' subspaces, so full updates are read a second time when they
    cannot all be held; otherwise each is read once.

    Args:
        work: what to compute.
        workers: what computes; each takes one batch at a time.
        done: told how many more updates have been measured.
    """
    updates, plan, bases, batches = work.updates, work.plan, work.bases, work.batches
    measured = workers.map(partial(_measure, work, done), batches)
    held = {batch: one.kept for batch, one in zip(batches, measured, strict=True) if one.kept is not None}
    measures = dict(
        pair
        for batch, one in zip(batches, measured, strict=True)
        for pair in zip(batch.members, one.measures, strict=True)
    )
    spectrum = _in_plan_order([one.spectrum for one in measured], batches, bases, len(plan.updates))
    norms = {i: m.norm for i, m in measures.items()} | {i: basis.norm for i, basis in bases.items()}
    # Weights are stored in single precision or coarser, so even exact spectra carry directions apart by that rounding.
    tol = rank_tolerance(torch.float32)
    pairs = workers.start(partial(_pair_geometry, spectrum, plan, lam=work.settings.lam, tol=tol))
    unions = workers.start(partial(_union_ranks, spectrum.V.float(), plan, tol=tol))
    again = in_batches(updates, list(bases), 1)
    sar = pair_alignments(
        updates, plan, spectrum, norms, batches + again, held, rough=work.batching.rough, workers=workers
    )
    return LayerGeometry(
        measures=measures,
        spectrum=_to_cpu(spectrum),
        pairs=_to_cpu(pairs.result()),
        sar=sar,
        union_ranks=unions.result(),
    )


def _spared(updates: LayerUpdates, plan: Plan, known: Mapping[str, Basis]) -> list[int]:
    """Updates of stored steps whose bases are known; factored ones are as quickly measured again."""
    old = [i for i in plan.needed if i not in plan.new and not updates.factored(i)]
    return [i for i in old if plan.updates[i].role == "task" and plan.updates[i].object in known]


def _measure(work: LayerWork, done: Callable[[int], None], batch: UpdateBatch) -> _Measured:
    """Reads a batch and finds its spectra."""
    updates, batching = work.updates, work.batching
    D, measures = read_batch(updates, batch)
    done(len(batch.members))
    rough = D if batch.factored else D.to(batching.rough)
    spectrum = _spectrum(D, rough, measures, work.settings, factored=batch.factored)
    if rough is not D:
        updates.give_back(D)
    return _Measured(measures, spectrum, rough if batch.factored or batching.hold else None)


def _spectrum(
    D: Tensor, rough: Tensor, measures: Sequence[Measures], settings: GeometrySettings, *, factored: bool
) -> Spectrum:
    norm = torch.tensor([m.norm for m in measures], dtype=torch.float64, device=D.device)
    return right_spectrum(
        D,
        norm,
        rank=settings.rank,
        energy=settings.energy,
        lam=settings.lam,
        energy_of=settings.energy_of,
        method="thin" if factored else settings.spectrum,
        rough=rough,
    )


def _pair_geometry(spectrum: Spectrum, plan: Plan, *, lam: float, tol: float) -> PairGeometry:
    i, j = plan.ends
    left, right = sorted(set(i)), sorted(set(j))
    C = cross_gram(spectrum.V[left], spectrum.V[right])  # few states, if any, are compared with one another
    C = C[[left.index(n) for n in i], [right.index(n) for n in j]]
    return pair_geometry(spectrum.s[i], spectrum.s[j], C, lam=lam, tol=tol)


def _union_ranks(V: Tensor, plan: Plan, *, tol: float) -> tuple[tuple[int, int], ...]:
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
            Q = extend_basis(Q, V[member], tol=tol)
        before = members
        ranks.append((Q.shape[1], Q.shape[1] + added_rank(Q, V[state_index(t)], tol=tol)))
    return tuple(ranks)


def _in_plan_order(
    spectra: Sequence[Spectrum], batches: Sequence[UpdateBatch], bases: Mapping[int, Basis], n: int
) -> Spectrum:
    """All spectra as one, no wider than the most directions that any update kept; empty where there is none."""
    like = spectra[0].V
    width = max(1, *(int(s.rank.max()) for s in spectra), *(len(basis.s) for basis in bases.values()))
    V, s = like.new_zeros(n, like.shape[1], width), like.new_zeros(n, width)
    rank = torch.zeros(n, dtype=torch.int64, device=like.device)
    s_1, energy_kept = like.new_zeros(n), like.new_full((n,), torch.nan)
    for batch, one in zip(batches, spectra, strict=True):
        members = list(batch.members)
        k = min(width, one.V.shape[-1])
        V[members, :, :k], s[members, :k] = one.V[..., :k], one.s[..., :k]
        rank[members], s_1[members], energy_kept[members] = one.rank, one.s_1, one.energy_kept
    for i, basis in bases.items():
        k = len(basis.s)
        V[i, :, :k], s[i, :k], rank[i] = basis.V.to(like.device), basis.s.to(like.device), k
        s_1[i], energy_kept[i] = basis.s_1, basis.energy_kept
    return Spectrum(V=V, s=s, rank=rank, s_1=s_1, energy_kept=energy_kept)


def _to_cpu(result: _Result) -> _Result:
    """The same result with every tensor on the CPU."""
    moved: dict[str, Any] = {name: v.cpu() for name, v in vars(result).items() if isinstance(v, Tensor)}
    return replace(result, **moved)
