"""FOREVER: replay on a forgetting curve in model time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch

from geodiag.lab.config import ForeverOptions
from geodiag.lab.data import EncodedItems, TokenBatch, one_pass
from geodiag.lab.model import norm_of, trainable
from geodiag.lab.strategies.strategy import Lesson, Record, Strategy, rehearse

EMA_RATE = 0.05
SLOWEST, FASTEST = 0.5, 3.0
"""Bounds of the factor on the pull's strength."""


def replay_days() -> Iterator[int]:
    """The days of the forgetting curve at which memory is refreshed: 1, 2, 4, 7, 15, 30, then doubled."""
    yield from (1, 2, 4, 7, 15)
    yield from (30 * 2**k for k in count())


class ModelClock:
    """One task's model time tau, the running sum of the optimiser's update norms Delta_t.

    A virtual day is tau after `day` steps, so that no event can fall before that. Replay is due whenever tau
    reaches the next of `replay_days()`.

    Args:
        day: optimiser steps that define a virtual day.
    """

    def __init__(self, *, day: int) -> None:
        self.steps_a_day, self.steps, self.tau = day, 0, 0.0
        self.day: float | None = None
        self.average = 0.0
        self._days = replay_days()
        self._next = next(self._days)

    def advance(self, moved: float) -> bool:
        """Let one optimiser step of norm `moved` pass.

        Returns:
            Whether replay is due now; one event even where a step crosses several thresholds.
        """
        self.steps += 1
        self.tau += moved
        self.average = moved if self.steps == 1 else (1 - EMA_RATE) * self.average + EMA_RATE * moved
        if self.steps == self.steps_a_day:
            self.day = self.tau
        due = False
        while self.day is not None and self.day > 0 and self.tau >= self._next * self.day:
            self._next, due = next(self._days), True
        return due

    def pull(self, *, beta: float, gamma: float) -> float:
        """beta_t = beta * clip(1 + gamma (r_t - 1), 0.5, 3), r_t the averaged Delta over the first day's mean."""
        assert self.day is not None
        speed = self.average / (self.day / self.steps_a_day)
        return beta * min(max(1 + gamma * (speed - 1), SLOWEST), FASTEST)


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

    def _replay(self, memory: EncodedItems, optimizer: Any, *, step: int) -> None:
        beta = self.clock.pull(beta=self.options.beta, gamma=self.options.gamma)
        clip = self.lesson.config.training.clip
        made = rehearse(self.lesson.model, optimizer, self._passes(memory), clip=clip, pull=(beta, self.anchor))
        self.events.append({"step": step, "tau": self.clock.tau, "beta": beta, "updates": made})

    def _passes(self, memory: EncodedItems) -> Iterator[TokenBatch]:
        for _ in range(self.options.epochs):
            yield from one_pass(memory, batch=self.lesson.config.training.batch, rng=self.lesson.rng)

    def end(self) -> Record:
        """The events, the virtual day and how much is kept."""
        kept = len(self.lesson.memory) if self.lesson.memory is not None else 0
        return {"memory_items": kept, "day": self.clock.day, "tau": self.clock.tau, "replays": self.events}
