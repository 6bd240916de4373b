"""AIMMerging: merge the new task's move with a rehearsal's move, whenever learning and forgetting call for it."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch

from geodiag.lab.config import AimOptions
from geodiag.lab.data import epochs
from geodiag.lab.model import trainable
from geodiag.lab.strategies.merge_rule import MergeRule
from geodiag.lab.strategies.rehearsal import memory_loss, rehearse
from geodiag.lab.strategies.strategy import Lesson, Record, Strategy


class AimMerging(Strategy):
    """Between merges the new task trains as usual; a merge rehearses the memory for S steps and averages both moves.

    theta_base <- theta_base + w_in delta_in + w_out delta_out, theta_base the weights at the last merge, delta_in the
    move since then, delta_out the rehearsal's. The steps after the last merge of a task stay as they are.
    """

    def __init__(self, options: AimOptions) -> None:
        self.options, self.memory_share = options, options.memory

    def begin(self, lesson: Lesson) -> None:
        """Start the task's rule; the last state is the first merge's start."""
        super().begin(lesson)
        self.parameters = trainable(lesson.model)
        self.merged = self._weights()
        o = self.options
        self.rule = MergeRule(interval=o.interval, shortest=o.shortest, longest=o.longest)
        self.events: list[dict[str, Any]] = []
        if lesson.memory is not None:
            self.batches = epochs(lesson.memory, batch=lesson.config.training.batch, rng=lesson.rng)

    def on_step_end(self, args: Any, state: Any, control: Any, *, optimizer: Any, **_: Any) -> None:
        """Look at the memory's loss, and merge if the rule says so. The first task has no memory."""
        del args, control
        if self.lesson.memory is None:
            return
        with torch.no_grad():
            loss = float(memory_loss(self.lesson.model, next(self.batches)))
        if self.rule.observe(state.global_step, loss):
            self._merge(optimizer, step=state.global_step, loss=loss)

    def _merge(self, optimizer: Any, *, step: int, loss: float) -> None:
        interval, (w_in, w_out) = self.rule.interval, self.rule.weights()
        learnt = self._weights()
        clip = self.lesson.config.training.clip
        rehearse(self.lesson.model, optimizer, islice(self.batches, interval), clip=clip)
        moved = self._combine(learnt, w_in=w_in, w_out=w_out)
        flags = self.rule.flags
        signal = self.rule.merged(step, moved=moved)
        event = {"step": step, "interval": interval, "flags": flags, "memory_loss": loss}
        self.events.append({**event, "w_in": w_in, "w_out": w_out, "signal": signal})

    @torch.no_grad()
    def _combine(self, learnt: list[torch.Tensor], *, w_in: float, w_out: float) -> float:
        """Set the merged weights; ||delta_in||_1."""
        moved = 0.0
        for parameter, start, middle in zip(self.parameters, self.merged, learnt, strict=True):
            delta_in, delta_out = middle - start, parameter - middle
            moved += float(delta_in.abs().sum())
            parameter.copy_(start + w_in * delta_in + w_out * delta_out)
        self.merged = self._weights()
        return moved

    def _weights(self) -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters]

    def end(self) -> Record:
        """The merges and how much is kept."""
        kept = len(self.lesson.memory) if self.lesson.memory is not None else 0
        return {"memory_items": kept, "merges": self.events}
