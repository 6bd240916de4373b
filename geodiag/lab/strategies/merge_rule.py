"""When AIMMerging merges, with which weights, and how its interval adapts: the rule alone, without a model."""

from __future__ import annotations

import math

SETTLED = 64
"""Intervals from here on are shortened twice as fast and lengthened less."""
LONG = 70
"""Above this interval old knowledge weighs more in a merge."""
PATIENCE = 3
"""Alarms after which a merge does not wait for its interval."""
COLD_START = 3
"""Merges before the interval adapts."""
THRESHOLD = 2.0
"""The memory loss counts as alarming at so many times its mean after the last merge."""


class MergeRule:
    """The state between merges of one task.

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
        return (step >= self.due and self.flags >= 1) or self.flags >= PATIENCE

    def weights(self) -> tuple[float, float]:
        """The shares of the new task's move and of the rehearsal's move in the merge at hand."""
        forgetting = self.flags > 1
        if self.interval <= LONG:
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
