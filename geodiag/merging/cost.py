"""Cost of a merge before it runs (`--dry-run`): bytes read, written and held, and operations."""

from __future__ import annotations

from collections.abc import Iterator

from geodiag.checkpoints import Layer
from geodiag.common.text import counted
from geodiag.merging.config import MergeConfig
from geodiag.merging.folder import RunFolder
from geodiag.merging.prepare import PreparedMerge, prepare_merge

_WORKING_BYTES = 4
"""Updates are held in float32."""


def plan_merge(config: MergeConfig) -> Iterator[str]:
    """The cost of a merge, in lines for a person; reads headers only.

    Args:
        config: base, experts and rule.

    Raises:
        GeodiagError: an error that would stop the merge.
    """
    prepared = prepare_merge(config)
    done = RunFolder(config.out, config.experts).steps_done(prepared.recipe)
    steps = config.steps_to_write(done)
    if not steps:
        yield f"run {config.run}: all {len(config.experts)} steps are there already"
        return
    there = f" (the first {done} are there already)" if done else ""
    bounds = [layer_flops(layer, config, steps) for layer in prepared.layers]
    least, most = (sum(side) / 1e12 for side in zip(*bounds, strict=True))
    flops = f"{least:.3g}" if least == most else f"{least:.3g} to {most:.3g}"
    held = max(merge_bytes(layer, config) for layer in prepared.layers)
    yield (
        f"run {config.run}: {config.method_label}, {counted(len(steps), 'state')}{there},"
        f" {counted(len(prepared.layers), 'layer')}; reads {_read_bytes(prepared) / 1e9:.3g} GB, writes"
        f" {_written_bytes(prepared, steps) / 1e9:.3g} GB, holds up to {held / 1e9:.3g} GB, {flops} TFLOP of products"
    )
    yield from prepared.notes


def layer_flops(layer: Layer, config: MergeConfig, steps: range) -> tuple[float, float]:
    """The least and the most floating-point operations of the large products on one layer."""
    active = [config.active_count(step) for step in steps]
    return config.rule.flops((layer.d_out, layer.d_in), active, experts=len(config.experts))


def merge_bytes(layer: Layer, config: MergeConfig) -> int:
    """Memory that a layer's updates and the rule take at once, at the last step."""
    shape, experts = (layer.d_out, layer.d_in), len(config.experts)
    active = config.active_count(experts)
    numbers = (active + 4) * layer.d_out * layer.d_in + config.rule.held_numbers(shape, active, experts=experts)
    return _WORKING_BYTES * numbers


def _read_bytes(prepared: PreparedMerge) -> int:
    """The base once for the layers and once for the tensors copied, and every expert once."""
    models = sum(1 for expert in prepared.experts if expert.kind == "checkpoint") + 1
    adapters = [file for expert in prepared.experts if expert.kind == "adapter" for file in expert.files]
    return models * prepared.layout.size + sum(file.stat().st_size for file in adapters)


def _written_bytes(prepared: PreparedMerge, steps: range) -> int:
    """The states, and of a scaled rule the changes that wait for the scale."""
    changes = 0
    if prepared.config.rule.scaled:
        changes = _WORKING_BYTES * sum(layer.d_out * layer.d_in for layer in prepared.layers)
    return len(steps) * (prepared.layout.size + changes)
