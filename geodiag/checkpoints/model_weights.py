"""Interface of a model's weights, whole or as an adapter: the content of each target layer, and reading it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from geodiag.checkpoints.layers import Layer
from geodiag.errors import CheckpointError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Factors:
    """A factored update of one layer, D = scale * B A, as stored."""

    B: torch.Tensor
    """(d_out, r) in its stored dtype."""
    A: torch.Tensor
    """(r, d_in) in its stored dtype."""
    scale: float
    """alpha / r, or alpha / sqrt(r)."""


WeightsKind: TypeAlias = Literal["checkpoint", "adapter"]
"""Whole weights, or an adapter of a base."""

Holding: TypeAlias = Literal["whole", "factors", "nothing"]
"""What is stored of a layer: its weight, the factors of its change since the base, or nothing, so that it is the
base's own."""


class ModelWeights(Protocol):
    """Weights of one model on disk, by target layer. `Checkpoint` and `Adapter` implement it."""

    @property
    def path(self) -> Path:
        """The folder, or the single file."""

    @property
    def kind(self) -> WeightsKind:
        """`checkpoint` or `adapter`."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that determine the weights."""

    def holds(self, layer: Layer) -> Holding:
        """Content of a layer, from headers alone."""

    def check(self, layer: Layer) -> None:
        """Check from headers alone that the tensors of a layer fit the base.

        Raises:
            CheckpointError: a tensor is missing, quantised, or of another shape than the base asks for.
        """

    def read_layer(self, layer: Layer, *, check: bool = True) -> torch.Tensor | Factors | None:
        """Read one layer.

        Args:
            layer: the layer, as the base has it.
            check: whether to refuse a whole weight with NaN or infinities, which takes one pass over it. A caller
                that sees them in a norm it computes anyway may leave it out. Factors are always checked.

        Returns:
            The whole weight (d_out, d_in), its factors, or None where the layer is the base's own; on the CPU, in
            stored dtypes.

        Raises:
            CheckpointError: as `check`, or NaN or infinities.
        """


def check_same_layers(layers: Sequence[Layer], weights: ModelWeights) -> None:
    """Check from headers alone that a checkpoint or adapter fits every target layer of the base.

    Whole weights must be there in the same shape. An adapter may leave layers out, and the others must fit. Other
    tensors do not matter: embeddings may have gained rows, and heads may be gone.

    Args:
        layers: the base's target layers.
        weights: the checkpoint or adapter.

    Raises:
        CheckpointError: for the first layer that is missing, of another shape or quantised; it says how many
            layers are affected.
    """
    errors = []
    for layer in layers:
        try:
            weights.check(layer)
        except CheckpointError as error:
            errors.append(error)
    if errors:
        first = errors[0]
        message = f"{first.what} ({len(errors)} of {len(layers)} target layers do not fit)"
        raise CheckpointError(message, where=first.where, tensor=first.tensor, fix=first.fix)
