"""Changes of a step with directions of its inputs projected out, or replaced by another update.

Symbols: Delta the change of a matrix (d_out, d_in); V (d_in, q) an orthonormal basis of inputs, q <= d_in / 8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from geodiag.extraction.measurements.attribution.subspaces import TaskBases, random_basis, state_change
from geodiag.models.groups import EMBEDDING, LM_HEAD, ParameterGroup, WeightSlot
from geodiag.models.runner import Multiplier
from geodiag.models.states import ModelState, WeightDelta

WIDTH_SHARE = 8
"""Inputs a direction: q <= d_in / 8."""
_DEPENDENT = 1e-6
"""Singular value of joined bases, relative to the largest, below which a direction counts as there already."""

SlotBasis = Callable[[WeightSlot], Tensor]
"""Gives V of a matrix."""


def joined_basis(bases: Sequence[Tensor], *, width: int) -> Tensor:
    """An orthonormal basis of the union of bases, each cut to its share of the width.

    Args:
        bases: (d_in, k_j), columns in falling order of their singular values; at least one.
        width: the most columns.

    Returns:
        (d_in, q), q <= width.
    """
    own = max(1, width // len(bases))
    joined = torch.cat([basis[:, :own] for basis in bases], dim=1)
    if joined.shape[1] == 0:
        return joined
    U, s, _ = torch.linalg.svd(joined, full_matrices=False)
    return U[:, s > _DEPENDENT * s[0]][:, :width]


def task_directions(tasks: Sequence[TaskBases]) -> SlotBasis:
    """V of the union of some tasks' input directions."""

    def basis(slot: WeightSlot) -> Tensor:
        width = max(1, slot.shape[1] // WIDTH_SHARE)
        return joined_basis([task.of(slot) for task in tasks], width=width)

    return basis


def as_wide(other: SlotBasis, like: SlotBasis) -> SlotBasis:
    """A basis cut to the width of another."""
    return lambda slot: other(slot)[:, : like(slot).shape[1]]


def random_directions(like: SlotBasis, names: tuple[str, ...]) -> SlotBasis:
    """Random directions of the width of a basis.

    Args:
        like: the basis.
        names: the run, step and tasks, by which they are drawn.
    """

    def basis(slot: WeightSlot) -> Tensor:
        V = like(slot)
        assert slot.layer is not None
        return random_basis(*V.shape, names=(*names, slot.layer.name)).to(V)

    return basis


def projection(basis: SlotBasis) -> Callable[[ParameterGroup], Multiplier]:
    """Delta (I - V V') of every matrix; groups that are no matrices change as they did."""

    def of_slot(slot: WeightSlot, change: WeightDelta) -> WeightDelta:
        if slot.layer is None:
            return change
        V = basis(slot)
        # x (I - V V') for rows x of Delta, or of its right factor
        return change.on_inputs(lambda rows: rows - (rows @ V) @ V.mT)

    return lambda group: _by_slot(group, of_slot) if any(slot.layer for slot in group.slots) else 1.0


def replacement(new: ModelState, old: ModelState, device: torch.device) -> Callable[[ParameterGroup], Multiplier]:
    """theta_new - theta_old in place of the step's change, in every group."""

    def of_slot(slot: WeightSlot, change: WeightDelta) -> WeightDelta:
        rows = {len(state.read(slot)) for state in (new, old)} if slot.group in (EMBEDDING, LM_HEAD) else {0}
        # Rows added by one of the two have no counterpart: the step's own change stays.
        return state_change(new, old, slot, device) if len(rows) == 1 else change

    return lambda group: _by_slot(group, of_slot)


def _by_slot(group: ParameterGroup, of_slot: Callable[[WeightSlot, WeightDelta], WeightDelta]) -> Multiplier:
    """A map that is called once for every slot of a group, in their order."""
    maps = iter([partial(of_slot, slot) for slot in group.slots])
    return lambda change: next(maps)(change)
