"""Edited steps of a run scored on probes: the model between two states, with a step's changes edited group by group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geodiag.extraction.measurements.attribution.subspaces import TaskBases, random_basis, state_change
from geodiag.extraction.measurements.edits.catalogue import Edit
from geodiag.extraction.measurements.edits.judging import Scores, TaskScores
from geodiag.models.groups import EMBEDDING, LM_HEAD, ParameterGroup, WeightSlot
from geodiag.models.probes import Half, TaskProbes
from geodiag.models.runner import ModelRunner, Multiplier
from geodiag.models.scores import score_examples
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


PROJECT_RANDOM, PROJECT_OTHERS = "project random directions", "project other tasks' directions"
"""Controls of the projection."""


@dataclass
class EditScorer:
    """Scores edits of one step.

    Args:
        runner: moved to the state before the step.
        after: the state after it.
        probes: by task, of those that are scored.
        batch_tokens: most tokens of a batch.
        names: the run, step and lost tasks, by which random directions are drawn.
        lost: bases of the lost tasks' updates.
        others: bases of tasks that were not lost.
        own: the new task's update, as the states that it leads to and comes from; None where it has none.
    """

    runner: ModelRunner
    after: ModelState
    probes: Mapping[str, TaskProbes]
    batch_tokens: int
    names: tuple[str, ...]
    lost: Sequence[TaskBases] = ()
    others: Sequence[TaskBases] = ()
    own: tuple[ModelState, ModelState] | None = None

    def score(self, edit: Edit, half: Half) -> Scores:
        """Scores of every task's examples of a half after the edited step."""
        with self.runner.edited(self.after, self._multipliers(edit)):
            return self._scores(half)

    def before(self, half: Half) -> Scores:
        """Scores before the step."""
        return self._scores(half)

    def at_end(self, half: Half) -> Scores:
        """Scores after the whole step, with the bits of the state after it."""
        with self.runner.edited(self.after, 1.0):
            return self._scores(half)

    @property
    def has_others(self) -> bool:
        """Whether there are tasks that were not lost and have directions."""
        return bool(self.others)

    def _scores(self, half: Half) -> Scores:
        return {task: self._task_scores(probes, half) for task, probes in self.probes.items()}

    def _task_scores(self, probes: TaskProbes, half: Half) -> TaskScores:
        examples = [probes.examples[n] for n in probes.of_half(half)]
        scores = score_examples(self.runner.model, examples, batch_tokens=self.batch_tokens)
        columns = ([s.loss for s in scores], [s.p_target for s in scores], [float(s.exact) for s in scores])
        return TaskScores(*(np.array(column, dtype=np.float64) for column in columns))

    def _multipliers(self, edit: Edit) -> Callable[[ParameterGroup], Multiplier]:
        if edit.kind in ("project", "project_random"):
            return projection(self._basis(edit.name))
        if edit.kind == "transplant":
            assert self.own is not None
            return replacement(*self.own, self.runner.device)
        groups = set(edit.groups)
        return lambda group: edit.factor if not groups or group.name in groups else 1.0

    def _basis(self, name: str) -> SlotBasis:
        lost = task_directions(self.lost)
        if name == PROJECT_RANDOM:
            return random_directions(lost, self.names)
        return as_wide(task_directions(self.others), lost) if name == PROJECT_OTHERS else lost


def example_rows(step: int, edit: str, half: Half, scores: Scores, probes: Mapping[str, TaskProbes]) -> Iterator[Any]:
    """Rows of `edit_examples` of one half."""
    for task, own in scores.items():
        places = probes[task].of_half(half)
        for example, loss, p, exact in zip(places, own.loss, own.p, own.exact, strict=True):
            yield {
                "step": step,
                "edit": edit,
                "task": task,
                "example": example,
                "loss": float(loss),
                "p_target": float(p),
                "exact": bool(exact),
            }
