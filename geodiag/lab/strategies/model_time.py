"""Model time: when to replay, from how far the weights have moved."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

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
