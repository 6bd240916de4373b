"""Products <gradient, change> of a model's parameters, example by example, without dense gradients.

Symbols: L_e the loss of example e, g_out its gradient in a module's output, x the module's input, Delta a change of
the module's weight. For modules linear in their weight, with f(x; W) the output,
    <grad_W L_e, Delta> = sum over the tokens of e of g_out . f(x; Delta)
A weight used in several modules (tied embeddings) has the sum over its uses. What no rule covers (routers, stacked
experts) takes its dense gradient, one at a time, which is multiplied and freed; examples then run one by one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from geodiag.errors import CheckpointError
from geodiag.extraction.measurements.attribution.changes import Piece, change_product
from geodiag.models.batches import EncodedProbe
from geodiag.models.scores import Batch, batch_plan, make_batch, target_logits
from geodiag.models.states import WeightDelta

Values = dict[tuple[str, str], Tensor]
"""(direction, group) -> one number an example, float64."""


@dataclass
class _Use:
    """One module that uses a parameter under a name."""

    module: nn.Module
    name: str

    @property
    def hooked(self) -> bool:
        """Whether the products follow from the module's input and the gradient of its output."""
        return is_linear(self.module) or isinstance(self.module, nn.Embedding) or _is_norm(self.module)


@dataclass(eq=False)
class ChangeProducts:
    """Hooks that take <gradient, change> of every parameter while losses run backward.

    Args:
        model: a causal language model whose parameters ask for no gradient.
        pieces: by parameter name, the parts with their changes. A tied parameter goes by one of its names.

    Modules may be given other parameters for a while (`ModelRunner.edited`); those they have then count.
    """

    model: nn.Module
    pieces: Mapping[str, Sequence[Piece]]
    _uses: dict[str, list[_Use]] = field(init=False)

    def __post_init__(self) -> None:
        named = dict(self.model.named_parameters(remove_duplicate=False))
        names = {id(named[name]): name for name in self.pieces}
        self._uses = defaultdict(list)
        for module in self.model.modules():
            for own, parameter in module._parameters.items():
                if id(parameter) in names:
                    self._uses[names[id(parameter)]].append(_Use(module, own))

    @property
    def dense(self) -> list[str]:
        """Parameters that need their dense gradient: some module that uses them is of no covered kind."""
        return [name for name, uses in self._uses.items() if not all(use.hooked for use in uses)]

    @property
    def one_by_one(self) -> bool:
        """Whether every example must run alone, because some gradient is a sum over the whole batch."""
        return bool(self.dense)

    @contextmanager
    def collecting(self, examples: int) -> Iterator[Values]:
        """While it lasts, every backward pass adds to the values it gives.

        Args:
            examples: how many the batch holds; its losses must be summed, not averaged.
        """
        values: Values = {}
        dense = set(self.dense)
        with ExitStack() as stack:
            for name in dense:
                stack.enter_context(self._dense_product(name, values))
            for module, responses in self._responses(dense).items():
                hook = partial(_hook, responses=responses, values=values, examples=examples)
                handle = module.register_forward_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
            yield values

    def _tensor(self, name: str) -> nn.Parameter:
        """The parameter that a module has under a name now."""
        use = self._uses[name][0]
        parameter = use.module._parameters[use.name]
        assert parameter is not None
        return parameter

    def _responses(self, dense: set[str]) -> dict[nn.Module, list[tuple[_Use, Sequence[Piece]]]]:
        by_module: dict[nn.Module, list[tuple[_Use, Sequence[Piece]]]] = defaultdict(list)
        for name, uses in self._uses.items():
            for use in uses if name not in dense else ():
                by_module[use.module].append((use, self.pieces[name]))
        return by_module

    @contextmanager
    def _dense_product(self, name: str, values: Values) -> Iterator[None]:
        parameter = self._tensor(name)

        def multiply(accumulated: Tensor) -> None:
            gradient, accumulated.grad = accumulated.grad, None
            assert gradient is not None
            for piece in self.pieces[name]:
                for direction, change in piece.changes(gradient.device):
                    product = change_product(change, piece.part.take(gradient))
                    _add(values, (direction, piece.group), product[None])

        parameter.requires_grad_(True)
        handle = parameter.register_post_accumulate_grad_hook(multiply)  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            handle.remove()
            parameter.requires_grad_(False)


def is_linear(module: nn.Module) -> bool:
    """Whether a module is x W' + b, or the transposed form of GPT-2."""
    return type(module) is nn.Linear or type(module).__name__ == "Conv1D"


def _is_norm(module: nn.Module) -> bool:
    """Whether a module scales and shifts its normalised input entry by entry."""
    own = [parameter for parameter in module._parameters.values() if parameter is not None]
    return "norm" in type(module).__name__.lower() and all(parameter.dim() == 1 for parameter in own)


def _hook(
    _module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    output: Tensor,
    *,
    responses: Sequence[tuple[_Use, Sequence[Piece]]],
    values: Values,
    examples: int,
) -> Tensor:
    """Has the gradient of a module's output multiplied with what each change would add to that output."""
    inputs = args[0] if args else next(iter(kwargs.values()))
    if not output.requires_grad:  # nothing below asks for a gradient: the graph begins here
        output = output.detach().requires_grad_().clone()
    if output.shape[0] == 1 < examples:  # positions, which all examples share
        output = output.expand(examples, *output.shape[1:])
    inputs = inputs.detach()

    def multiply(gradient: Tensor) -> None:
        for use, pieces in responses:
            for key, number in _numbers(use, pieces, inputs, gradient, examples):
                _add(values, key, number)

    output.register_hook(multiply)  # type: ignore[no-untyped-call]
    return output


def _numbers(
    use: _Use, pieces: Sequence[Piece], inputs: Tensor, gradient: Tensor, examples: int
) -> Iterator[tuple[tuple[str, str], Tensor]]:
    rows = _by_example(gradient, examples)
    for piece in pieces:
        for direction, change in piece.changes(gradient.device):
            yield (direction, piece.group), _number(use, piece, change, inputs, rows)


def _number(use: _Use, piece: Piece, change: WeightDelta, inputs: Tensor, rows: Tensor) -> Tensor:
    """sum over an example's tokens of g_out . f(x; Delta), an example each."""
    if _multiplies_inputs(use, piece):
        own = piece.part.take_rows(rows.movedim(-1, 0)).movedim(0, -1)
        added = change.of(inputs.to(_wider(inputs, change)))
        return rows.new_zeros(len(rows), dtype=torch.float64) if added is None else _sum_of_products(own, added)
    delta = change.to_dense(())
    if is_linear(use.module) and use.name == "bias":
        return (rows.double().sum(1) * delta.double()).sum(-1)
    return _sum_of_products(rows, _response(use, delta, inputs))


def _wider(inputs: Tensor, change: WeightDelta) -> torch.dtype:
    """The dtype of a product of inputs with a change: float32 at least, so that no change is rounded."""
    parts = (change.dense, change.left)
    return next((torch.promote_types(inputs.dtype, part.dtype) for part in parts if part is not None), inputs.dtype)


def _multiplies_inputs(use: _Use, piece: Piece) -> bool:
    """Whether the change of a piece is (d_out, d_in) and multiplies the inputs of its module."""
    stored_transposed = type(use.module) is not nn.Linear
    return is_linear(use.module) and use.name == "weight" and piece.part.transposed == stored_transposed


@torch.no_grad()
def _response(use: _Use, delta: Tensor, inputs: Tensor) -> Tensor:
    """What a change of one parameter adds to the output: f(x; Delta) - f(x; 0), exact where f is affine in it.

    Embeddings and weights of linear modules have f(x; 0) = 0. A norm that scales by 1 + w has not; its change is
    taken large, so that the 1 is lost beside it and not the change in the rounding of the 1.
    """
    if not _is_norm(use.module):
        return _output(use, delta, inputs)
    size = delta.abs().max().item()
    factor = 2.0 ** (20 - math.frexp(size)[1]) if size > 0 else 1.0
    return (_output(use, factor * delta, inputs) - _output(use, torch.zeros_like(delta), inputs)) / factor


def _output(use: _Use, value: Tensor, inputs: Tensor) -> Tensor:
    """A module's output with a value in place of one parameter and zeros in place of the others, without its hooks."""
    own = use.module._parameters
    values: dict[str, Any] = {name: None if p is None else torch.zeros_like(p) for name, p in own.items()}
    try:
        use.module._parameters = values | {use.name: value}
        output: Tensor = use.module.forward(inputs)
    finally:
        use.module._parameters = own
    return output


def _by_example(values: Tensor, examples: int) -> Tensor:
    """(examples, tokens, d) of a module's values, whose first dimension is examples, or all their tokens in a row."""
    first = values.shape[0]
    if first == 1:  # of positions, which all examples share
        return values.reshape(1, -1, values.shape[-1])
    if examples > 1 and (first % examples or (first != examples and values.dim() > 2)):
        message = f"a module gives values of shape {tuple(values.shape)}, which {examples} examples do not share"
        raise CheckpointError(message, fix="measure one example a batch")
    return values.reshape(examples, -1, values.shape[-1])


def _sum_of_products(gradient: Tensor, added: Tensor) -> Tensor:
    """sum over an example's tokens and entries of gradient * added, an example each, in float64.

    Args:
        gradient: (examples, tokens, d).
        added: in the module's own shape.
    """
    wide = _by_example(added, len(gradient)).double().expand(gradient.shape)
    return torch.linalg.vecdot(gradient.double().flatten(1), wide.flatten(1))


def _add(values: Values, key: tuple[str, str], number: Tensor) -> None:
    values[key] = values[key] + number if key in values else number


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
