"""The weights of target layers: where a checkpoint keeps them, and reading them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from geodiag.checkpoints.adapter import Adapter
from geodiag.checkpoints.checkpoint import Checkpoint, check_finite, check_readable, check_shape
from geodiag.checkpoints.layer_matching import quantisation
from geodiag.checkpoints.layers import Layer, MatrixPart
from geodiag.checkpoints.tensor_names import naming_of, other_names, text_config
from geodiag.errors import CheckpointError

if TYPE_CHECKING:
    import torch


def layer_index(checkpoint: Checkpoint) -> Mapping[str, tuple[str, MatrixPart]]:
    """The tensor and the part of it that hold each projection; made once a checkpoint.

    Projections that the configuration does not divide are left out here: matching says what is wrong with them.

    Args:
        checkpoint: the checkpoint.
    """
    if not checkpoint.index:
        site_of, config = naming_of(checkpoint.config)[1], text_config(checkpoint.config)
        for name, (info, _) in checkpoint.tensors.items():
            site = site_of(name)
            try:
                found = [] if site is None else list(site.projections(info.shape, config))
            except ValueError:
                found = []
            for projection in found:
                checkpoint.index.setdefault(projection.layer, (name, projection.part))
    return checkpoint.index


def find_layer(checkpoint: Checkpoint, layer: Layer) -> tuple[str, MatrixPart] | None:
    """The tensor and the part of it that hold a layer of the base in another checkpoint; None when it has none.

    The layer is looked for under the base's own name, under the names that other prefixes give, and last by what it
    is: the same experts may be saved one by one in one checkpoint and stacked in another.

    Args:
        checkpoint: a checkpoint of the same model.
        layer: the layer, as the base has it.
    """
    names = (layer.tensor, *other_names(layer.tensor))
    name = next((name for name in names if name in checkpoint.tensors), None)
    return (name, layer.part) if name is not None else layer_index(checkpoint).get(layer.name)


def read_layer(checkpoint: Checkpoint, layer: Layer, *, check: bool = True) -> torch.Tensor:
    """Read one target layer.

    Args:
        checkpoint: the base, or another checkpoint of the same model, perhaps saved with other names.
        layer: the layer, as the base has it.
        check: whether to refuse numbers that are not finite, which takes one pass over them; a caller that sees
            them in a norm it computes anyway may leave it out.

    Returns:
        (d_out, d_in) on the CPU, in the checkpoint's stored type; every number is finite, where that is checked.

    Raises:
        CheckpointError: the tensor is missing, has another shape or is quantised, or holds NaN or infinities.
    """
    name, part = _checked_tensor(checkpoint, layer)
    weight = checkpoint.read_part(name, part)
    if check:
        check_finite(weight, checkpoint, name)
    return weight


def check_same_layers(layers: Sequence[Layer], checkpoint: Checkpoint | Adapter) -> None:
    """Check from headers alone that a checkpoint fits every target layer of the base.

    Whole weights must be there in the same shape; an adapter may leave layers out, and what it has must fit. Other
    tensors do not matter: embeddings may have gained rows, and heads may be gone.

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
            if isinstance(checkpoint, Adapter):
                checkpoint.check(layer)
            else:
                _checked_tensor(checkpoint, layer)
        except CheckpointError as error:
            errors.append(error)
    if errors:
        first = errors[0]
        what = f"{first.what} ({len(errors)} of {len(layers)} target layers do not fit)"
        raise CheckpointError(what, where=first.where, tensor=first.tensor, fix=first.fix)


def _checked_tensor(checkpoint: Checkpoint, layer: Layer) -> tuple[str, MatrixPart]:
    """The tensor and the part of it that hold a layer, in the base's shape and a readable type."""
    found = find_layer(checkpoint, layer)
    if found is None:
        what = "the tensor is missing here and present in the base"
        fix = "give a checkpoint of the base's own architecture, with all its weights"
        raise CheckpointError(what, where=checkpoint.path, tensor=layer.tensor, fix=fix)
    name, part = found
    info = checkpoint.info(name)
    check_readable(info, where=checkpoint.path, tensor=name, method=quantisation(checkpoint.config))
    check_shape(part.shape(info.shape), (layer.d_out, layer.d_in), where=checkpoint.path, tensor=name)
    return found
