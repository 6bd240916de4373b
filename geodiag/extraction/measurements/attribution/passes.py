"""Forward and backward passes over a task's examples: losses and products with changes, example by example."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from geodiag.extraction.measurements.attribution.products import ChangeProducts, Values
from geodiag.models.batches import EncodedProbe, MicroBatch, micro_batches, token_losses


def values_by_example(
    products: ChangeProducts, examples: Sequence[EncodedProbe], *, batch_tokens: int, device: torch.device
) -> tuple[Tensor, Values]:
    """Losses and products of every example, in the order given.

    Args:
        products: the hooks of a model.
        examples: of one task.
        batch_tokens: the most tokens of a batch, padding included; plays no part where examples run one by one.
        device: where the model is.

    Returns:
        Losses (n,) in nats, and each (direction, group) with its (n,) products; float64, on the CPU.
    """
    losses = torch.zeros(len(examples), dtype=torch.float64)
    values: Values = {}
    for places in _batches(examples, 0 if products.one_by_one else batch_tokens):
        (batch,) = micro_batches([examples[n] for n in places], batch_tokens=2**62, device=device)
        with products.collecting(len(places)) as own:
            batch_losses = _example_losses(products.model, batch)
            torch.autograd.backward(batch_losses.sum())
        losses[places] = batch_losses.detach().double().cpu()
        for key, numbers in own.items():
            values.setdefault(key, torch.zeros_like(losses))[places] = numbers.cpu()
    return losses, values


def _batches(examples: Sequence[EncodedProbe], batch_tokens: int) -> Iterator[list[int]]:
    """Places of the examples of each batch: examples of like length, from token counts alone."""
    places: list[int] = []
    for n in sorted(range(len(examples)), key=lambda n: len(examples[n].ids)):
        if places and len(examples[n].ids) * (len(places) + 1) > batch_tokens:
            yield places
            places = []
        places.append(n)
    yield places


def _example_losses(model: nn.Module, batch: MicroBatch) -> Tensor:
    """(b,): the mean cross-entropy of each example's target tokens."""
    losses = token_losses(model, batch)
    rows = batch.predicts.nonzero()[:, 0]
    sums = losses.new_zeros(len(batch.ids)).index_add(0, rows, losses)
    return sums / batch.predicts.sum(1)
