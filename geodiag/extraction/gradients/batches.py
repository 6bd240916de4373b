"""Micro-batches of probes and the loss that is taken on them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geodiag.extraction.gradients.encoding import Encoded


@dataclass(frozen=True)
class MicroBatch:
    """Some probes in one padded block; each weighs what its share of a mean is."""

    ids: Tensor
    """(b, n) tokens, padded on the right."""
    positions: Tensor
    """(p,), rising: where some probe of the batch predicts a token of its target."""
    predicts: Tensor
    """(b, p), whether that probe does there."""
    targets: Tensor
    """The tokens predicted, in the order of `predicts`."""
    weights: Tensor
    """Each one's weight in the loss."""


def micro_batches(probes: Sequence[Encoded], *, batch_tokens: int, device: torch.device) -> Iterator[MicroBatch]:
    """Packs probes of like length so that their losses add up to the mean over the probes.

    Args:
        probes: the examples of one mean.
        batch_tokens: the most tokens in a block, padding included; a longer probe is a block of its own.
        device: where the tensors go.
    """
    ordered = sorted(probes, key=lambda probe: len(probe.ids))
    first = 0
    while first < len(ordered):
        last = first + 1
        while last < len(ordered) and len(ordered[last].ids) * (last + 1 - first) <= batch_tokens:
            last += 1
        yield _micro_batch(ordered[first:last], 1 / len(probes), device)
        first = last


def target_loss(model: nn.Module, batch: MicroBatch) -> Tensor:
    """Sum over the batch's probes of weight times the mean cross-entropy of the probe's target tokens.

    Logits are made in the model's precision, where the model can for the predicting positions only; the
    cross-entropy is taken in float32, or in float64 where the model computes in it.
    """
    keep = "logits_to_keep" in inspect.signature(model.forward).parameters
    # Without a mask: the padding lies behind every token, where causal attention never looks, and a mask would
    # cost the fast kernels and leave padding beyond a sliding window with nothing to attend to.
    kept = {"logits_to_keep": batch.positions} if keep else {}
    logits = model(input_ids=batch.ids, use_cache=False, **kept).logits
    logits = (logits if keep else logits[:, batch.positions])[batch.predicts]
    wide = logits if logits.dtype == torch.float64 else logits.float()
    losses = nn.functional.cross_entropy(wide, batch.targets, reduction="none")
    return losses @ batch.weights.to(losses.dtype)


def _micro_batch(probes: Sequence[Encoded], weight: float, device: torch.device) -> MicroBatch:
    n = max(len(probe.ids) for probe in probes)
    ids = torch.zeros(len(probes), n, dtype=torch.long)
    predicts = torch.zeros(len(probes), n, dtype=torch.bool)
    for row, probe in enumerate(probes):
        length = len(probe.ids)
        ids[row, :length] = torch.tensor(probe.ids)
        predicts[row, length - probe.n_target - 1 : length - 1] = True
    positions = predicts.any(0).nonzero()[:, 0]
    parts = {
        "ids": ids,
        "positions": positions,
        "predicts": predicts[:, positions],
        "targets": ids.roll(-1, dims=1)[predicts],
        "weights": torch.cat([torch.full((p.n_target,), weight / p.n_target) for p in probes]),
    }
    return MicroBatch(**{name: part.to(device) for name, part in parts.items()})
