"""Optimiser steps on memory batches, between the steps that the Trainer makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from geodiag.lab.data import Batch
from geodiag.lab.model import Model, trainable


def rehearse(
    model: Model,
    optimizer: Any,
    batches: Iterator[Batch],
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


def memory_loss(model: Model, batch: Batch) -> torch.Tensor:
    """The mean cross-entropy on a batch's target tokens."""
    loss: torch.Tensor = model(**{name: tensor.to(model.device) for name, tensor in batch.items()}).loss
    return loss


@torch.no_grad()
def pull_towards(parameters: Sequence[torch.nn.Parameter], anchor: Sequence[torch.Tensor], *, beta: float) -> None:
    """Add the gradient of beta ||theta - anchor||^2, which is 2 beta (theta - anchor)."""
    for parameter, start in zip(parameters, anchor, strict=True):
        assert parameter.grad is not None
        parameter.grad.add_(parameter - start, alpha=2 * beta)
