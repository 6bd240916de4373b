"""Interface of a continual strategy, rehearsal steps, and plain sequential fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.random import Generator
from transformers import TrainerCallback

from geodiag.lab.config import LabConfig
from geodiag.lab.data import EncodedItems, TokenBatch
from geodiag.lab.model import Model, trainable

Record = dict[str, Any]
"""The record of a strategy at one step, as JSON-ready values."""


@dataclass(frozen=True)
class Lesson:
    """One step of the sequence, as given to a strategy before training."""

    model: Model
    """The model, at the last state."""
    items: EncodedItems
    """The new task's training items."""
    memory: EncodedItems | None
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
        """After a step is trained: its record."""
        return {}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors that a run needs, besides the last state, to go on after this step."""
        return {}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Restore the tensors that `tensors()` gave."""


def rehearse(
    model: Model,
    optimizer: Any,
    batches: Iterator[TokenBatch],
    *,
    clip: float,
    pull: tuple[float, Sequence[torch.Tensor]] | None = None,
) -> int:
    """Train on memory batches with the task's own optimiser, its moments and its present rate.

    Args:
        model: the model to train.
        optimizer: the optimiser of the task.
        batches: one optimiser step each.
        clip: the gradient norm at which gradients are clipped.
        pull: beta and anchor of an added loss term beta ||theta - anchor||^2.

    Returns:
        How many steps were made.
    """
    model.train()
    made = 0
    for batch in batches:
        model.zero_grad()
        torch.autograd.backward(memory_loss(model, batch))
        if pull is not None:
            pull_towards(trainable(model), pull[1], beta=pull[0])
        torch.nn.utils.clip_grad_norm_(trainable(model), clip)
        optimizer.step()
        made += 1
    model.zero_grad()
    return made


def memory_loss(model: Model, batch: TokenBatch) -> torch.Tensor:
    """The mean cross-entropy on a batch's target tokens."""
    loss: torch.Tensor = model(**{name: tensor.to(model.device) for name, tensor in batch.items()}).loss
    return loss


@torch.no_grad()
def pull_towards(parameters: Sequence[torch.nn.Parameter], anchor: Sequence[torch.Tensor], *, beta: float) -> None:
    """Add the gradient of beta ||theta - anchor||^2, which is 2 beta (theta - anchor)."""
    for parameter, start in zip(parameters, anchor, strict=True):
        assert parameter.grad is not None
        parameter.grad.add_(parameter - start, alpha=2 * beta)


class SeqSft(Strategy):
    """Plain sequential fine-tuning: each step trains on its own task, from the last state."""
