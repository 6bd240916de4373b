"""Forward and backward passes over a task's examples: losses and products with changes, example by example."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from geodiag.extraction.measurements.attribution.products import ChangeProducts, Values
from geodiag.models.batches import EncodedProbe
from geodiag.models.scores import Batch, batch_plan, make_batch, target_logits


def values_by_example(
    products: ChangeProducts, examples: Sequence[EncodedProbe], *, batch_tokens: int, device: torch.device
) -> tuple[Tensor, Values]:
    """Losses and products of every example, in the order given.

    Args:
        products: the hooks of a model.
        examples: of one task.
        batch_tokens: most tokens of a batch, padding included; where examples run one by one it does not count.
        device: where the model is.

    Returns:
        Losses (n,) in nats, and each (direction, group) with its (n,) products; float64, on the CPU.
    """
    losses = torch.zeros(len(examples), dtype=torch.float64)
    values: Values = {}
    for indices in batch_plan(examples, batch_tokens=1 if products.one_by_one else batch_tokens):
        batch = make_batch(examples, indices, device=device)
        with products.collecting(len(indices)) as own:
            batch_losses = _example_losses(products.model, batch)
            torch.autograd.backward(batch_losses.sum())
        places = list(indices)
        losses[places] = batch_losses.detach().double().cpu()
        for key, numbers in own.items():
            values.setdefault(key, torch.zeros_like(losses))[places] = numbers.cpu()
    return losses, values


def _example_losses(model: nn.Module, batch: Batch) -> Tensor:
    """(b,): the mean cross-entropy of each example's target tokens, in float64 of float32 log-softmax."""
    logits, _ = target_logits(model, batch)
    wide = logits if logits.dtype == torch.float64 else logits.float()
    losses = nn.functional.cross_entropy(wide, batch.targets, reduction="none").double()
    sums = losses.new_zeros(len(batch.ids)).index_add(0, batch.owners, losses)
    return sums / batch.predicts.sum(1)
