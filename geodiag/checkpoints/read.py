"""Reading target layers, and checking that two checkpoints have the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from geodiag.checkpoints.checkpoint import Checkpoint, check_readable
from geodiag.checkpoints.layers import Layer
from geodiag.checkpoints.match import quantisation
from geodiag.checkpoints.naming import other_names
from geodiag.errors import CheckpointError

if TYPE_CHECKING:
    import torch


def read_layer(checkpoint: Checkpoint, layer: Layer) -> torch.Tensor:
    """Read one target layer.

    Args:
        checkpoint: the base, or another checkpoint of the same model, perhaps saved with another prefix.
        layer: the layer, as the base has it.

    Returns:
        (d_out, d_in) on the CPU, in the checkpoint's stored type; every number is finite.

    Raises:
        CheckpointError: the tensor is missing, has another shape or is quantised, or holds NaN or infinities.
    """
    name = _checked_tensor(checkpoint, layer)
    weight = layer.part.take(checkpoint.read(name))
    _check_finite(weight, checkpoint, name)
    return weight


def check_same_layers(layers: Sequence[Layer], checkpoint: Checkpoint) -> None:
    """Check from headers alone that a checkpoint has every target layer of the base, in the same shape.

    Other tensors do not matter: embeddings may have gained rows, and heads may be gone.

    Args:
        layers: the base's target layers.
        checkpoint: the other checkpoint.

    Raises:
        CheckpointError: for the first layer that is missing, of another shape or quantised; it says how many
            layers are affected.
    """
    errors = []
    for layer in layers:
        try:
            _checked_tensor(checkpoint, layer)
        except CheckpointError as error:
            errors.append(error)
    if errors:
        first = errors[0]
        what = f"{first.what} ({len(errors)} of {len(layers)} target layers do not fit)"
        raise CheckpointError(what, where=first.where, tensor=first.tensor, fix=first.fix)


def _checked_tensor(checkpoint: Checkpoint, layer: Layer) -> str:
    """The name under which a checkpoint holds a layer, in the base's shape and a readable type."""
    names = (layer.tensor, *other_names(layer.tensor))
    name = next((name for name in names if name in checkpoint.tensors), None)
    if name is None:
        what = "the tensor is missing here and present in the base"
        fix = "give a checkpoint of the base's own architecture, with all its weights"
        raise CheckpointError(what, where=checkpoint.path, tensor=layer.tensor, fix=fix)
    info = checkpoint.info(name)
    check_readable(info, where=checkpoint.path, tensor=name, method=quantisation(checkpoint.config))
    found = layer.part.shape(info.shape)
    if found != (layer.d_out, layer.d_in):
        what = f"shape {_by(found)} where the base has {_by((layer.d_out, layer.d_in))}"
        fix = "give a checkpoint of the base's own size"
        raise CheckpointError(what, where=checkpoint.path, tensor=name, fix=fix)
    return name


def _check_finite(weight: torch.Tensor, checkpoint: Checkpoint, name: str) -> None:
    # One pass without a copy: minimum and maximum are NaN or infinite as soon as one number is. Counting
    # with isfinite takes some forty times longer, so it waits for a reason.
    import torch

    low, high = torch.aminmax(weight)
    if not (torch.isfinite(low) and torch.isfinite(high)):
        n_nan, n_inf = int(weight.isnan().sum()), int(weight.isinf().sum())
        what = f"{n_nan} NaN and {n_inf} infinite of {weight.numel()} numbers"
        file = checkpoint.tensors[name][1]
        fix = "the checkpoint comes from a diverged or broken run; use an earlier one"
        raise CheckpointError(what, where=file, tensor=name, fix=fix)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
