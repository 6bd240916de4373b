"""Task gradients held in memory: how many layers fit in a pass, and their sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from geodiag.checkpoints import Layer
from geodiag.errors import CheckpointError, SettingsError
from geodiag.geometry import gradient_gram, gram_scratch_bytes, split_half_reliability


def gradient_bytes(layers: Sequence[Layer], tasks: int, stored: Mapping[str, int]) -> int:
    """The most bytes that the gradients of `tasks` tasks take for some layers at any moment of a pass.

    Held are one float32 gradient a task and the second half of the task in hand; beside them, one tensor's new
    gradient on its way in, or the scratch of one layer's Gram matrix.

    Args:
        layers: those of the pass.
        tasks: how many tasks there are.
        stored: the entries of each tensor that holds a layer, which may hold others too.
    """
    sizes = [layer.d_out * layer.d_in for layer in layers]
    incoming = max(4 * stored[layer.tensor] for layer in layers)
    scratch = max(gram_scratch_bytes(max(2, tasks), n) for n in sizes)
    return 4 * (tasks + 1) * sum(sizes) + max(incoming, scratch)


def split_layers(
    layers: Sequence[Layer], *, tasks: int, stored: Mapping[str, int], budget: int
) -> tuple[tuple[Layer, ...], ...]:
    """Neighbouring layers, grouped so that each group's gradients fit in the budget.

    Filled from the lowest layer up. That gives the fewest groups of neighbours, and each group's lowest layer,
    at which its backward passes stop, lies as high as it can.

    Args:
        layers: in any order.
        tasks: how many tasks' gradients are held.
        stored: the entries of each tensor that holds a layer.
        budget: bytes.

    Returns:
        The groups from the lowest up.

    Raises:
        SettingsError: not even one layer fits.
    """
    groups: list[list[Layer]] = []
    for layer in sorted(layers, key=lambda layer: layer.block):
        need = gradient_bytes([layer], tasks, stored)
        if need > budget:
            message = f"{bytes_text(budget)} cannot hold {tasks} tasks' gradients of layer {layer.name}"
            raise SettingsError(message, where="memory budget", fix=f"give at least {bytes_text(need)}")
        if groups and gradient_bytes([*groups[-1], layer], tasks, stored) <= budget:
            groups[-1].append(layer)
        else:
            groups.append([layer])
    return tuple(map(tuple, groups))


def bytes_text(n: int) -> str:
    """Bytes for a person: `1.5 GiB`."""
    size, units = float(n), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.{0 if units[0] == 'B' or size >= 100 else 1}f} {units[0]}"


class HeldGradients:
    """g_1, ..., g_m of some layers, in float32 on the model's device.

    A task is two halves: the first adds up in the task's own place, the second in a spare one; `close_task` then
    compares them and leaves their mean. So m + 1 gradients are held, and only numbers leave.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], layers: Sequence[Layer], *, tasks: int) -> None:
        device = next(iter(parameters.values())).device
        self.layers = tuple(layers)
        self._parameters = {layer.tensor: parameters[layer.tensor] for layer in layers}
        self._held = [
            torch.zeros(tasks + 1, layer.d_out, layer.d_in, dtype=torch.float32, device=device) for layer in layers
        ]
        self._row = 0

    @contextmanager
    def collecting(self, row: int) -> Iterator[None]:
        """While it lasts, every backward pass adds its gradients to those in `row`; -1 is the spare place.

        Only these layers ask for gradients, so a backward pass ends at the lowest of them.
        """
        self._row = row
        handles = [self._collect_from(name, parameter) for name, parameter in self._parameters.items()]
        try:
            yield
        finally:
            for handle, parameter in zip(handles, self._parameters.values(), strict=True):
                handle.remove()
                parameter.requires_grad_(False)
                parameter.grad = None

    def close_task(self, row: int, *, first: int, second: int) -> Tensor:
        """Turns the mean gradients of the two halves into the task's own.

        Args:
            row: the task's place.
            first: how many probes the half in `row` is the mean of.
            second: the same of the half in the spare place; it is cleared.

        Returns:
            (layers,) the cosines of the halves; NaN where there is no second one, or a half is zero.
        """
        reliability = torch.full((len(self.layers),), torch.nan, dtype=torch.float64)
        for n, held in enumerate(self._held):
            if second:
                # A slice of these two places alone, which is a view where picking them would copy.
                reliability[n] = split_half_reliability(gradient_gram(held[row :: len(held) - 1 - row])).cpu()
                held[row].mul_(first / (first + second)).add_(held[-1], alpha=second / (first + second))
                held[-1].zero_()
        return reliability

    def grams(self) -> Tensor:
        """(layers, m, m): the Gram matrix of the tasks' gradients in each layer, on the CPU.

        Raises:
            CheckpointError: a gradient is not finite.
        """
        grams = torch.stack([gradient_gram(held[:-1]).cpu() for held in self._held])
        for layer, G in zip(self.layers, grams, strict=True):
            if not G.isfinite().all():
                message = "a gradient is infinite or not a number"
                raise CheckpointError(message, tensor=layer.tensor, fix="see whether the model's loss is finite")
        return grams

    def products(self, place: int, changes: Sequence[Tensor]) -> Tensor:
        """(m, c): <g_i, Delta_k> of every task's gradient in one layer with some changes of it, on the CPU.

        Summed in single precision over stretches of 2^20 entries, and in float64 over those.

        Args:
            place: of the layer.
            changes: each (d_out, d_in).
        """
        held = self._held[place][:-1].flatten(1)
        products = torch.zeros(len(held), len(changes), dtype=torch.float64)
        for k, change in enumerate(changes):
            stretches = zip(torch.split(held, 2**20, dim=1), torch.split(change.to(held).flatten(), 2**20), strict=True)
            products[:, k] = torch.stack([(g @ d).double() for g, d in stretches]).sum(0).cpu()
        return products

    def _collect_from(self, name: str, parameter: nn.Parameter) -> torch.utils.hooks.RemovableHandle:
        """Moves a gradient to where it is held as soon as it is made, so that only one is ever on its way."""
        targets = [(n, layer.part) for n, layer in enumerate(self.layers) if layer.tensor == name]

        def move(parameter: Tensor) -> None:
            assert parameter.grad is not None
            for n, part in targets:
                self._held[n][self._row].add_(part.take(parameter.grad))
            parameter.grad = None

        parameter.requires_grad_(True)
        return parameter.register_post_accumulate_grad_hook(move)  # type: ignore[no-untyped-call]
