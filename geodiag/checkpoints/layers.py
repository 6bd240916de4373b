"""What is known of target layers, and of the tensors that are none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Part:
    """Which part of a stored tensor a layer is. The steps apply in the order of the fields."""

    expert: int | None = None
    """The index into the first dimension of a tensor that stacks experts."""
    transposed: bool = False
    """Whether the matrix is stored (d_in, d_out)."""
    rows: tuple[int, int] | None = None
    """From which row up to which, of a matrix that stacks several projections."""

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the part of a tensor with the shape `stored`; what does not fit is kept as it is."""
        if self.expert is not None:
            stored = stored[1:] if stored and self.expert < stored[0] else stored
        if self.transposed:
            stored = stored[::-1]
        if self.rows is not None and stored:
            start, stop, _ = slice(*self.rows).indices(stored[0])
            stored = (max(0, stop - start), *stored[1:])
        return stored

    def take(self, tensor: torch.Tensor) -> torch.Tensor:
        """The part itself, a view."""
        tensor = tensor if self.expert is None else tensor[self.expert]
        tensor = tensor.T if self.transposed else tensor
        return tensor if self.rows is None else tensor[slice(*self.rows)]


WHOLE = Part()
"""The tensor as it is stored, (d_out, d_in)."""


@dataclass(frozen=True)
class Layer:
    """One matrix in which updates are compared."""

    name: str
    """Its canonical name, the same in every checkpoint of a model: `model.layers.0.self_attn.q_proj`."""
    block: int
    """The number of its block, from 0."""
    family: str
    """Its projection family, one of `FAMILIES`."""
    d_out: int
    """Rows: the width of what it gives."""
    d_in: int
    """Columns: the width of what it takes."""
    dtype: str
    """The stored type, such as "bfloat16"."""
    tensor: str
    """The name of the tensor that holds it."""
    part: Part = WHOLE
    """Which part of that tensor it is."""


@dataclass(frozen=True)
class LeftOut:
    """A tensor that is not compared."""

    name: str
    """Its name as stored."""
    shape: tuple[int, ...]
    """Its shape as stored."""
    why: str
    """What it is ("embedding", "norm", "bias", "router", "expert", "vision", "head", "buffer", "unknown"), or
    why a projection is not taken ("shape": no matrix; "family", "pattern": not asked for)."""


@dataclass(frozen=True)
class LayerTable:
    """The target layers of a checkpoint."""

    layers: tuple[Layer, ...]
    """By block, then in the order of `FAMILIES`."""
    left_out: tuple[LeftOut, ...]
    """Every other tensor, in the checkpoint's order."""
    naming: str
    """The `model_type` whose names were looked for, or "any" when they were matched by pattern."""

    @property
    def left_out_counts(self) -> dict[str, int]:
        """How many tensors were left out for each reason, the most frequent first."""
        return dict(Counter(left.why for left in self.left_out).most_common())

    def __str__(self) -> str:
        blocks, families = {layer.block for layer in self.layers}, {layer.family for layer in self.layers}
        told = ", ".join(f"{count} {why}" for why, count in self.left_out_counts.items())
        line = f"{len(self.layers)} layers in {len(blocks)} blocks and {len(families)} families"
        return f"{line}; left out {len(self.left_out)} tensors" + (f": {told}" if told else "")
