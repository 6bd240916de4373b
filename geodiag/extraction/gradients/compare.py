"""The gradients of a state's tasks, compared layer by layer in as many passes as memory asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from geodiag.checkpoints import Layer
from geodiag.checkpoints.naming import other_names
from geodiag.errors import CheckpointError
from geodiag.extraction.gradients.accumulate import HeldGradients
from geodiag.extraction.gradients.batches import MicroBatch, micro_batches, target_loss
from geodiag.extraction.gradients.encoding import Encoded
from geodiag.extraction.gradients.relay import RELAYED, Relay


@dataclass(frozen=True)
class Compared:
    """The gradients of m tasks in one layer."""

    layer: Layer
    """The layer."""
    gram: Tensor
    """(m, m): <g_i, g_j>."""
    reliability: Tensor
    """(m,): the cosine of the gradients of two halves of a task's probes; NaN where it has none."""


@dataclass(frozen=True)
class _Half:
    """One half of a task's probes."""

    n: int
    """How many probes."""
    batches: range
    """Its micro-batches among all."""


def compare_tasks(
    model: nn.Module,
    passes: Sequence[Sequence[Layer]],
    probes: Sequence[Sequence[Encoded]],
    *,
    batch_tokens: int,
) -> Iterator[Compared]:
    """Compares the mean gradients of tasks, holding those of one pass's layers at a time.

    Args:
        model: a causal language model, in evaluation mode.
        passes: the layers of each pass, from the lowest up.
        probes: each task's, in drawn order; the halves are the examples at even and at odd places.
        batch_tokens: the most tokens of a micro-batch.

    Raises:
        CheckpointError: the model has no weight of a layer's name and shape, or a gradient is not finite.
    """
    parameters = target_parameters(model, [layer for layers in passes for layer in layers])
    batches: list[MicroBatch] = []
    tasks = [
        (_half(examples[::2], model, batch_tokens, batches), _half(examples[1::2], model, batch_tokens, batches))
        for examples in probes
    ]
    backward = _backward(model, passes, batches)
    for number in reversed(range(len(passes))):
        # What a pass holds ends with the call: the next one's places are made when these are free again.
        yield from _one_pass(parameters, passes[number], tasks, partial(backward, number))


def target_parameters(model: nn.Module, layers: Sequence[Layer]) -> dict[str, nn.Parameter]:
    """The model's weight of each layer, by the name of the layer's tensor in the base.

    Raises:
        CheckpointError: there is none, or one of another shape.
    """
    named = dict(model.named_parameters())
    found: dict[str, nn.Parameter] = {}
    for layer in layers:
        parameter = next((named[n] for n in (layer.tensor, *other_names(layer.tensor)) if n in named), None)
        if parameter is None or layer.part.shape(tuple(parameter.shape)) != (layer.d_out, layer.d_in):
            what = "the loaded model has no weight of this name and shape"
            raise CheckpointError(what, tensor=layer.tensor, fix="leave the layer out with --families or --layers")
        found[layer.tensor] = parameter
    return found


def _one_pass(
    parameters: Mapping[str, nn.Parameter],
    layers: Sequence[Layer],
    tasks: Sequence[tuple[_Half, _Half]],
    backward: Callable[[int], None],
) -> list[Compared]:
    held = HeldGradients(parameters, layers, tasks=len(tasks))
    reliability = []
    for row, (first, second) in enumerate(tasks):
        for place, half in ((row, first), (-1, second)):
            with held.collecting(place):
                for index in half.batches:
                    backward(index)
        reliability.append(held.close_task(row, first=first.n, second=second.n))
    by_layer = zip(layers, held.grams(), torch.stack(reliability, dim=1), strict=True)
    return [Compared(*found) for found in by_layer]


def _half(probes: Sequence[Encoded], model: nn.Module, batch_tokens: int, batches: list[MicroBatch]) -> _Half:
    """Appends a half's micro-batches to those of all."""
    first = len(batches)
    device = next(model.parameters()).device
    batches.extend(micro_batches(probes, batch_tokens=batch_tokens, device=device))
    return _Half(len(probes), range(first, len(batches)))


def _backward(
    model: nn.Module, passes: Sequence[Sequence[Layer]], batches: Sequence[MicroBatch]
) -> Callable[[int, int], None]:
    """How a micro-batch is run backward in a pass."""
    if len(passes) > 1 and getattr(model.config, "model_type", None) in RELAYED:
        return Relay(model, batches, passes).backward

    def whole(_number: int, index: int) -> None:
        torch.autograd.backward(target_loss(model, batches[index]))

    return whole
