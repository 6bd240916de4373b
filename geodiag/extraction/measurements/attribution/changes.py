"""Changes of a model's weights in the directions that are measured: the whole step, and its part in a subspace.

Symbols: Delta the change of a weight (d_out, d_in), dense or factored; V (d_in, k) an orthonormal basis of inputs;
G a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from geodiag.checkpoints.layers import WHOLE, MatrixPart
from geodiag.models.states import WeightDelta

WHOLE_CHANGE, OWN_INPUTS, RANDOM_INPUTS = "step", "shared", "shared_random"
"""Directions: the whole change, its part in a task's own input directions, its part in random ones."""

_CHUNK = 2**24


@dataclass(frozen=True)
class Piece:
    """A tensor of a model, or the part of it that is one matrix, with its change in each direction."""

    group: str
    """The group that its products add to."""
    change: Callable[[], WeightDelta]
    """The whole change, read where it is asked for or held."""
    part: MatrixPart = WHOLE
    """Which part of the tensor."""
    within: Mapping[str, WeightDelta] = field(default_factory=dict)
    """By direction, the part of the change in a subspace of the inputs; held, since it is small."""

    def changes(self, device: torch.device) -> Iterator[tuple[str, WeightDelta]]:
        """Each direction with its change on a device."""
        yield WHOLE_CHANGE, on_device(self.change(), device)
        for direction, change in self.within.items():
            yield direction, on_device(change, device)


def within_subspace(change: WeightDelta, V: Tensor) -> WeightDelta:
    """Delta V V', factored as (Delta V) V'.

    Args:
        change: of a matrix.
        V: (d_in, k), orthonormal columns.
    """
    images = change.of(V.mT)  # rows are Delta v
    return WeightDelta() if images is None else WeightDelta(None, images.mT.contiguous(), V.mT.contiguous())


def change_product(change: WeightDelta, gradient: Tensor) -> Tensor:
    """<G, Delta> in float64, a scalar on the device of G; factors are not multiplied out."""
    total = torch.zeros((), dtype=torch.float64, device=gradient.device)
    if change.dense is not None:
        total = total + inner_product(gradient, change.dense)
    if change.left is not None and change.right is not None:
        # <G, L R> = <L' G, R>
        wide = gradient.to(torch.promote_types(gradient.dtype, change.left.dtype))
        total = total + inner_product(change.left.mT.to(wide.dtype) @ wide, change.right)
    return total


def inner_product(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> in float64, in stretches, so that no float64 copy of a whole tensor is held."""
    stretches = zip(*(torch.split(entries.reshape(-1), _CHUNK) for entries in (a, b)), strict=True)
    return torch.stack([torch.dot(x.double(), y.double()) for x, y in stretches]).sum()


def on_device(change: WeightDelta, device: torch.device) -> WeightDelta:
    """The change on a device; itself where it is there."""
    parts = (change.dense, change.left, change.right)
    return WeightDelta(*(None if part is None else part.to(device) for part in parts))


def is_zero(change: WeightDelta) -> bool:
    """Whether nothing changes."""
    return change.squared_norm() == 0.0
