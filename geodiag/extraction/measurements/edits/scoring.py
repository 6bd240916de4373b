"""Edited steps of a run scored on probes: the model between two states, with a step's changes edited group by group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geodiag.extraction.measurements.attribution.subspaces import TaskBases
from geodiag.extraction.measurements.edits.catalogue import Edit
from geodiag.extraction.measurements.edits.directions import (
    SlotBasis,
    as_wide,
    projection,
    random_directions,
    replacement,
    task_directions,
)
from geodiag.extraction.measurements.edits.judging import Scores, TaskScores
from geodiag.models.groups import ParameterGroup
from geodiag.models.probes import Half, TaskProbes
from geodiag.models.runner import ModelRunner, Multiplier
from geodiag.models.scores import score_examples
from geodiag.models.states import ModelState

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
