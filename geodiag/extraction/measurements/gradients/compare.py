"""Gradients of a state's tasks, compared layer by layer in as many passes as memory needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from geodiag.checkpoints import Layer
from geodiag.checkpoints.tensor_names import other_names
from geodiag.errors import CheckpointError
from geodiag.extraction.measurements.gradients.held import HeldGradients
from geodiag.models.batches import EncodedProbe, MicroBatch, micro_batches, target_loss

RELAYED = frozenset({"gemma", "gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3"})
"""Model types whose blocks are a chain: nothing but the hidden state goes from one to the next."""

_Call = tuple[tuple[Any, ...], dict[str, Any]]
_Body = Callable[[Tensor, list[_Call]], Tensor]


class _Stop(Exception):
    """Ends a model's forward pass from within."""


class Relay:
    """Backward passes over one range of blocks after the other, from the top down.

    Run as a whole for every one of k passes, a model goes forward k times, and backward from the loss down to
    each pass's lowest block. Here one forward pass keeps the hidden states at which passes begin. Each pass
    then runs its own blocks only: forward from the kept state, backward from the gradient that the pass above
    left at the border between them. Counted in forward passes through all blocks (a backward pass being two)
    that is 4, whatever k is, where whole passes take 1 + 3 k / 2, give or take; and activations are kept for
    one pass's blocks at a time. What waits, one hidden state a token and pass, waits in host memory.
    """

    def __init__(self, model: nn.Module, batches: Sequence[MicroBatch], passes: Sequence[Sequence[Layer]]) -> None:
        self._model, self._batches = model, batches
        self._blocks: list[nn.Module] = list(model.base_model.layers)  # type: ignore[union-attr, arg-type]
        self._forwards = [block.forward for block in self._blocks]
        # The loss lies above the last block, whether or not that has a target layer.
        self._stops = [*(layers[-1].block + 1 for layers in passes[:-1]), len(self._blocks)]
        # Where the pass below ends, which takes its gradient from there. Two passes can share a block, so it
        # can lie within the blocks of this pass, and above its first one.
        self._borders = [None, *self._stops[:-1]]
        self._starts = [
            layers[0].block if border is None else min(layers[0].block, border)
            for layers, border in zip(passes, self._borders, strict=True)
        ]
        self._gradients: dict[int, Tensor] = {}
        self._hidden = [self._first_states(batch) for batch in batches]

    def backward(self, number: int, index: int) -> None:
        """One micro-batch backward through the blocks of one pass.

        Args:
            number: which pass, counted from the lowest. Every batch goes through a pass before any goes
                through the one below it.
            index: which micro-batch.
        """
        start, stop, border = self._starts[number], self._stops[number], self._borders[number]
        batch, kept = self._batches[index], self._hidden[index]
        first = (kept[start] if start in self._starts[:number] else kept.pop(start)).to(batch.ids.device)
        first = first.detach().requires_grad_(border == start)
        at_border: list[Tensor] = []

        def segment(_embedded: Tensor, calls: list[_Call]) -> Tensor:
            states = list(self._chain(first, calls, start=start, stop=stop))
            if border is not None:
                at_border.append(states[border - start])
                at_border[0].retain_grad()
            if stop == len(self._blocks):
                return states[-1]
            torch.autograd.backward(states[-1], self._gradients[index].to(first.device))
            raise _Stop

        with suppress(_Stop), self._running(segment):
            torch.autograd.backward(target_loss(self._model, batch))
        for state in at_border:
            assert state.grad is not None
            self._gradients[index] = state.grad.cpu()

    @torch.no_grad()
    def _first_states(self, batch: MicroBatch) -> dict[int, Tensor]:
        """The states that enter the first block of each pass."""
        kept: dict[int, Tensor] = {}

        def keep(embedded: Tensor, calls: list[_Call]) -> Tensor:
            states = self._chain(embedded, calls, start=0, stop=self._starts[-1])
            kept.update((block, state.cpu()) for block, state in enumerate(states) if block in self._starts)
            raise _Stop

        with suppress(_Stop), self._running(keep):
            target_loss(self._model, batch)
        return kept

    def _chain(self, state: Tensor, calls: list[_Call], *, start: int, stop: int) -> Iterator[Tensor]:
        """The state that enters `start`, and those that leave the blocks from it up to `stop`."""
        yield state
        for block in range(start, stop):
            args, kwargs = calls[block]
            output = self._forwards[block](state, *args, **kwargs)
            state = output if isinstance(output, Tensor) else output[0]
            yield state

    @contextmanager
    def _running(self, body: _Body) -> Iterator[None]:
        """While it lasts, blocks only note how they are called, and the last one runs `body` in place of all."""
        calls: list[_Call] = []

        def note(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            calls.append((args, kwargs))
            return hidden_states if len(calls) < len(self._blocks) else body(hidden_states, calls)

        for block in self._blocks:
            block.forward = note
        try:
            yield
        finally:
            for block in self._blocks:
                del block.forward


@dataclass(frozen=True)
class Compared:
    """The gradients of m tasks in one layer."""

    layer: Layer
    """The layer."""
    gram: Tensor
    """(m, m): <g_i, g_j>."""
    reliability: Tensor
    """(m,): the cosine of the gradients of two halves of a task's probes; NaN where it has none."""
    products: Tensor
    """(m, c): <g_i, Delta_k> with each of the changes asked for, float64; c = 0 where none was."""


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
    probes: Sequence[Sequence[EncodedProbe]],
    *,
    batch_tokens: int,
    changes: Callable[[Layer], Sequence[Tensor]] = lambda _layer: (),
) -> Iterator[Compared]:
    """Compares the mean gradients of tasks, holding those of one pass's layers at a time.

    Args:
        model: a causal language model, in evaluation mode.
        passes: the layers of each pass, from the lowest up.
        probes: each task's, in drawn order; the halves are the examples at even and at odd places.
        batch_tokens: the most tokens of a micro-batch.
        changes: of a layer's weight, to be multiplied with every task's gradient, such as those of the steps that
            end and begin at this state: their halved sum over both states is the trapezoid of the loss change.

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
        yield from _one_pass(parameters, passes[number], tasks, partial(backward, number), changes)


def target_parameters(model: nn.Module, layers: Sequence[Layer]) -> dict[str, nn.Parameter]:
    """The model's weight of each layer, by the name of the layer's tensor in the base.

    Raises:
        CheckpointError: there is none, or one of another shape.
    """
    named = dict(model.named_parameters())
    parameters: dict[str, nn.Parameter] = {}
    for layer in layers:
        parameter = next((named[n] for n in (layer.tensor, *other_names(layer.tensor)) if n in named), None)
        if parameter is None or layer.part.shape(tuple(parameter.shape)) != (layer.d_out, layer.d_in):
            message = "the loaded model has no weight of this name and shape"
            raise CheckpointError(message, tensor=layer.tensor, fix="leave the layer out with --families or --layers")
        parameters[layer.tensor] = parameter
    return parameters


def _one_pass(
    parameters: Mapping[str, nn.Parameter],
    layers: Sequence[Layer],
    tasks: Sequence[tuple[_Half, _Half]],
    backward: Callable[[int], None],
    changes: Callable[[Layer], Sequence[Tensor]],
) -> list[Compared]:
    held = HeldGradients(parameters, layers, tasks=len(tasks))
    reliability = []
    for row, (first, second) in enumerate(tasks):
        for place, half in ((row, first), (-1, second)):
            with held.collecting(place):
                for index in half.batches:
                    backward(index)
        reliability.append(held.close_task(row, first=first.n, second=second.n))
    products = [held.products(n, changes(layer)) for n, layer in enumerate(layers)]
    by_layer = zip(layers, held.grams(), torch.stack(reliability, dim=1), products, strict=True)
    return [Compared(*one) for one in by_layer]


def _half(probes: Sequence[EncodedProbe], model: nn.Module, batch_tokens: int, batches: list[MicroBatch]) -> _Half:
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
