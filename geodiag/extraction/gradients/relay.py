"""Several passes over a model's layers for the price of one more forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from geodiag.checkpoints import Layer
from geodiag.extraction.gradients.batches import MicroBatch, target_loss

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
            found = self._forwards[block](state, *args, **kwargs)
            state = found if isinstance(found, Tensor) else found[0]
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
