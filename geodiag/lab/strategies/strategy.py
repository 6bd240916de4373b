"""What a continual strategy may do beside plain training on the new task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.random import Generator
from transformers import TrainerCallback

from geodiag.lab.config import LabConfig
from geodiag.lab.data import Encoded
from geodiag.lab.model import Model

Record = dict[str, Any]
"""What a strategy did at one step, as JSON-ready values."""


@dataclass(frozen=True)
class Lesson:
    """One step of the sequence, as a strategy sees it before it is trained."""

    model: Model
    """The model, at the last state."""
    items: Encoded
    """The new task's training items."""
    memory: Encoded | None
    """The past tasks' kept items; none at the first step or where the method keeps none."""
    config: LabConfig
    """The run's settings."""
    rng: Generator
    """The strategy's own stream of this step."""


class Strategy(TrainerCallback):  # type: ignore[misc]
    """Seq. SFT: plain cross-entropy on the new task, nothing else. The other strategies add to it.

    A strategy is a Trainer callback. One object lives through a whole run; `begin` and `end` frame each step.
    """

    memory_share: float = 0.0
    """Share of each past task's training items that is kept for replay."""

    def begin(self, lesson: Lesson) -> None:
        """Before a step is trained."""
        self.lesson = lesson

    def add_gradient(self, *, step: int) -> None:
        """After the task's backward pass of the step's optimiser step `step` (from 0), before clipping."""

    def end(self) -> Record:
        """After a step is trained: what was done, for the run's record."""
        return {}

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a run that is taken up again needs beside the last state."""
        return {}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take up `tensors()` again."""
