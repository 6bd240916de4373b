"""AIMMerging: merging the new task's change with a rehearsal's at intervals that adapt.

S            merging interval, in optimiser steps
h            loss on a batch of the memory after an optimiser step
delta_in     move of the weights by the new task since the last merge; delta_out that by the rehearsal
Lambda       learning signal, ||delta_in||_1 / S
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import torch

from geodiag.lab.config import AimOptions
from geodiag.lab.data import epochs
from geodiag.lab.model import trainable
from geodiag.lab.strategies.strategy import Lesson, Record, Strategy, memory_loss, rehearse

SETTLED = 64
"""Intervals from here on are shortened twice as fast and lengthened less."""
LONG_WINDOW = 70
"""Above this interval old knowledge weighs more in a merge."""
MERGE_PATIENCE = 3
"""Alarms after which a merge does not wait for its interval."""
COLD_START = 3
"""Merges before the interval adapts."""
THRESHOLD = 2.0
"""The memory loss counts as alarming at so many times its mean after the last merge."""


class MergeSchedule:
    """When to merge, and with which shares: the state between the merges of one task.

    Args:
        interval: S, the first interval in optimiser steps.
        shortest: the least S.
        longest: the greatest S.
    """

    def __init__(self, *, interval: int, shortest: int, longest: int) -> None:
        self.interval, self.shortest, self.longest = interval, shortest, longest
        self.due, self.flags, self.merges = interval, 0, 0
        self.threshold: float | None = None
        self._losses: list[float] = []
        self._last_signal: float | None = None

    def observe(self, step: int, loss: float) -> bool:
        """Note the memory loss h after optimiser step `step` (from 1).

        The first int(2S/3) + 1 losses after a merge set the threshold, twice their mean. Afterwards each loss at
        or over it raises the flag, and so does each step from `due + S` on.

        Returns:
            Whether to merge now: a flag at or after the due step, or three flags at any time.
        """
        if self.threshold is None:
            self._collect(loss)
        elif loss >= self.threshold or step >= self.due + self.interval:
            self.flags += 1
        return (step >= self.due and self.flags >= 1) or self.flags >= MERGE_PATIENCE

    def weights(self) -> tuple[float, float]:
        """The shares of the new task's move and of the rehearsal's move in the merge at hand."""
        forgetting = self.flags > 1
        if self.interval <= LONG_WINDOW:
            return (0.5, 0.5) if forgetting else (0.6, 0.4)
        return (0.4, 0.6) if forgetting else (0.5, 0.5)

    def merged(self, step: int, *, moved: float) -> float:
        """Start anew after a merge at `step`.

        Args:
            step: the optimiser step.
            moved: ||delta_in||_1, how far the new task moved the weights since the last merge.

        Returns:
            The learning signal Lambda = ||delta_in||_1 / S.
        """
        # Lambda = ||delta_in||_1 / S
        signal = moved / self.interval
        if self.merges >= COLD_START and self._last_signal is not None:
            self.interval = self._adapted(signal, self._last_signal)
        self.merges, self._last_signal = self.merges + 1, signal
        self.due, self.flags, self.threshold, self._losses = step + self.interval, 0, None, []
        return signal

    def _collect(self, loss: float) -> None:
        self._losses.append(loss)
        if len(self._losses) == int(2 * self.interval / 3) + 1:
            self.threshold = THRESHOLD * math.fsum(self._losses) / len(self._losses)

    def _adapted(self, signal: float, last: float) -> int:
        """A faster move than last time shortens the interval, a slower one lengthens it."""
        interval = self.interval
        if signal >= last:
            shorter = max(self.shortest, int(interval * last / signal)) if signal > 0 else interval
            return shorter // 2 if shorter >= SETTLED else shorter
        if signal == 0:
            return self.longest
        return min(self.longest, int(interval * (last / signal + (1.0 if interval < SETTLED else 0.5))))


class AimMerging(Strategy):
    """Between merges the new task trains as usual; a merge rehearses the memory for S steps and averages both moves.

    theta_base <- theta_base + w_in delta_in + w_out delta_out, theta_base the weights at the last merge, delta_in the
    move since then, delta_out the rehearsal's. The steps after the last merge of a task stay as they are.
    """

    def __init__(self, options: AimOptions) -> None:
        self.options, self.memory_share = options, options.memory

    def begin(self, lesson: Lesson) -> None:
        """Start the task's schedule; the last state is the first merge's start."""
        super().begin(lesson)
        self.parameters = trainable(lesson.model)
        self.merged = self._weights()
        o = self.options
        self.schedule = MergeSchedule(interval=o.interval, shortest=o.shortest, longest=o.longest)
        self.events: list[dict[str, Any]] = []
        if lesson.memory is not None:
            self.batches = epochs(lesson.memory, batch=lesson.config.training.batch, rng=lesson.rng)

    def on_step_end(self, args: Any, state: Any, control: Any, *, optimizer: Any, **_: Any) -> None:
        """Measure the memory's loss, and merge if the schedule asks for it. The first task has no memory."""
        del args, control
        if self.lesson.memory is None:
            return
        with torch.no_grad():
            loss = float(memory_loss(self.lesson.model, next(self.batches)))
        if self.schedule.observe(state.global_step, loss):
            self._merge(optimizer, step=state.global_step, loss=loss)

    def _merge(self, optimizer: Any, *, step: int, loss: float) -> None:
        interval, (w_in, w_out) = self.schedule.interval, self.schedule.weights()
        learnt = self._weights()
        clip = self.lesson.config.training.clip
        rehearse(self.lesson.model, optimizer, islice(self.batches, interval), clip=clip)
        moved = self._combine(learnt, w_in=w_in, w_out=w_out)
        flags = self.schedule.flags
        signal = self.schedule.merged(step, moved=moved)
        event = {"step": step, "interval": interval, "flags": flags, "memory_loss": loss}
        self.events.append({**event, "w_in": w_in, "w_out": w_out, "signal": signal})

    @torch.no_grad()
    def _combine(self, learnt: list[torch.Tensor], *, w_in: float, w_out: float) -> float:
        """Set the merged weights; ||delta_in||_1."""
        moved = 0.0
        for parameter, start, middle in zip(self.parameters, self.merged, learnt, strict=True):
            delta_in, delta_out = middle - start, parameter - middle
            moved += float(delta_in.abs().sum())
            # theta_base <- theta_base + w_in delta_in + w_out delta_out
            parameter.copy_(start + w_in * delta_in + w_out * delta_out)
        self.merged = self._weights()
        return moved

    def _weights(self) -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters]

    def end(self) -> Record:
        """The merges and how much is kept."""
        kept = len(self.lesson.memory) if self.lesson.memory is not None else 0
        return {"memory_items": kept, "merges": self.events}
