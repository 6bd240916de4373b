"""Predictions of three models on an old task's probes: before a step, the new task's own, and after the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from geodiag.extraction.measurements.losses.kept import HiddenStates
from geodiag.extraction.measurements.measurement import Row
from geodiag.extraction.measurements.modes.fit import ExampleMixture, example_mixture, fit_modes
from geodiag.models.divergence import Head, head_agrees, head_of
from geodiag.models.probes import TaskProbes
from geodiag.models.runner import ModelRunner
from geodiag.models.scores import Batch, score_examples
from geodiag.models.states import ModelState

OWN_LOGITS = "the model changes its logits in a way of its own"
"""Status where predictions cannot be remade from hidden states."""


class StepModes:
    """The three models of one step, run once over every task.

    Args:
        runner: moved from one state to the next.
        states: before the step, of the new task alone, and after the step.
        tasks: old tasks with their probes.
        batch_tokens: most tokens of a batch.
    """

    def __init__(
        self, runner: ModelRunner, states: Sequence[ModelState], tasks: Mapping[str, TaskProbes], batch_tokens: int
    ) -> None:
        self._tasks, self._device = tasks, runner.device
        self._plain = True
        self._heads: list[Head] = []
        self._hidden: list[dict[str, HiddenStates]] = []
        for state in states:
            runner.move_to(state)
            self._heads.append(head_of(runner))
            self._hidden.append({task: self._run(runner, probes, batch_tokens) for task, probes in tasks.items()})

    def _run(self, runner: ModelRunner, probes: TaskProbes, batch_tokens: int) -> HiddenStates:
        hidden = HiddenStates(probes.examples, None, probes.task)
        head = self._heads[-1]

        def keep(batch: Batch, states: Tensor, logits: Tensor) -> None:
            hidden.keep(batch, states)
            self._plain = self._plain and head_agrees(head, states[:8], logits[:8])

        score_examples(runner.model, probes.examples, batch_tokens=batch_tokens, keep=keep)
        hidden.close()
        return hidden

    def row(self, task: str) -> Row:
        """The columns of `modes` of one task."""
        names = ("beta", "beta_se", "beta_first", "explained", "residual_kl", "kl_old", "bc_old_new")
        if not self._plain:
            return {**dict.fromkeys(names), "status": OWN_LOGITS}
        fit = fit_modes(self._mixtures(task))
        return {
            "beta": fit.beta if fit.is_defined else None,
            "beta_se": fit.beta_se if fit.beta_se != float("inf") else None,
            "beta_first": fit.beta_first,
            "explained": fit.explained,
            "residual_kl": fit.residual_kl,
            "kl_old": fit.kl_old,
            "bc_old_new": fit.bc_old_new,
            "status": fit.status,
        }

    @torch.no_grad()
    def _mixtures(self, task: str) -> list[ExampleMixture]:
        counts = self._hidden[0][task].counts
        parts = [torch.split(hidden[task].read(self._device), counts) for hidden in self._hidden]
        mixtures = []
        for n, example in enumerate(self._tasks[task].examples):
            first = len(example.ids) - example.n_target
            targets = torch.tensor(example.ids[first : first + counts[n]], device=self._device)
            p, q, s = (
                _log_probabilities(head, part[n], rows=self._rows)
                for head, part in zip(self._heads, parts, strict=True)
            )
            mixtures.append(example_mixture(p, q, s, targets))
        return mixtures

    @property
    def _rows(self) -> int:
        """Tokens that all three models have."""
        return min(len(head.weight) for head in self._heads)


def _log_probabilities(head: Head, hidden: Tensor, *, rows: int) -> Tensor:
    return torch.log_softmax(head.logits(hidden)[:, :rows].double(), dim=-1)
