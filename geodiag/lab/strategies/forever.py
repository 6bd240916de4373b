"""FOREVER: replay of a small memory on a forgetting curve that runs in model time.

Replay events fall where the distance travelled in weight space, not the count of steps, says that time has passed.
An event trains on the whole memory with L = L_task(memory) + beta_t ||theta - theta*||^2, theta* the last state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from geodiag.lab.config import ForeverOptions
from geodiag.lab.data import Batch, Encoded, one_pass
from geodiag.lab.model import norm_of, trainable
from geodiag.lab.strategies.model_time import ModelClock
from geodiag.lab.strategies.rehearsal import rehearse
from geodiag.lab.strategies.strategy import Lesson, Record, Strategy


class Forever(Strategy):
    """Replays when tau crosses a day of the forgetting curve; replay's own steps do not advance tau."""

    def __init__(self, options: ForeverOptions) -> None:
        self.options, self.memory_share = options, options.memory

    def begin(self, lesson: Lesson) -> None:
        """Start the task's clock and remember the last state."""
        super().begin(lesson)
        self.parameters = trainable(lesson.model)
        self.anchor = [parameter.detach().clone() for parameter in self.parameters]
        self.clock = ModelClock(day=self.options.day)
        self.events: list[dict[str, float | int]] = []

    @torch.no_grad()
    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Remember the weights before the step, to know how far it goes."""
        self.before = [parameter.detach().clone() for parameter in self.parameters]

    def on_step_end(self, args: Any, state: Any, control: Any, *, optimizer: Any, **_: Any) -> None:
        """Advance model time and replay if a threshold was crossed."""
        del args, control
        moves = [p.detach() - old for p, old in zip(self.parameters, self.before, strict=True)]
        if self.clock.advance(norm_of(moves)) and self.lesson.memory is not None:
            self._replay(self.lesson.memory, optimizer, step=state.global_step)

    def _replay(self, memory: Encoded, optimizer: Any, *, step: int) -> None:
        beta = self.clock.pull(beta=self.options.beta, gamma=self.options.gamma)
        clip = self.lesson.config.training.clip
        made = rehearse(self.lesson.model, optimizer, self._passes(memory), clip=clip, pull=(beta, self.anchor))
        self.events.append({"step": step, "tau": self.clock.tau, "beta": beta, "updates": made})

    def _passes(self, memory: Encoded) -> Iterator[Batch]:
        for _ in range(self.options.epochs):
            yield from one_pass(memory, batch=self.lesson.config.training.batch, rng=self.lesson.rng)

    def end(self) -> Record:
        """The events, the virtual day and how much is kept."""
        kept = len(self.lesson.memory) if self.lesson.memory is not None else 0
        return {"memory_items": kept, "day": self.clock.day, "tau": self.clock.tau, "replays": self.events}
