"""Where a checkpoint keeps its layers, by their canonical names."""

from __future__ import annotations

from collections.abc import Mapping

from geodiag.checkpoints.checkpoint import Checkpoint
from geodiag.checkpoints.layers import Layer, Part
from geodiag.checkpoints.naming import naming_of, other_names, text_config


def layer_index(checkpoint: Checkpoint) -> Mapping[str, tuple[str, Part]]:
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


def locate(checkpoint: Checkpoint, layer: Layer) -> tuple[str, Part] | None:
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
