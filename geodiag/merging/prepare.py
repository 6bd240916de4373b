"""A merge that has passed its checks, and what it will take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geodiag.checkpoints import (
    Checkpoint,
    Factors,
    Layer,
    LayerTable,
    ModelWeights,
    check_same_layers,
    fingerprint,
    match_layers,
    open_checkpoint,
    open_model,
)
from geodiag.common.text import counted
from geodiag.errors import GeodiagError, SettingsError
from geodiag.geometry.numerics import pick_device
from geodiag.merging.config import MergeConfig
from geodiag.merging.folder import RunFolder, make_recipe
from geodiag.merging.state_files import StateLayout, state_layout


@dataclass(frozen=True)
class PreparedMerge:
    """The inputs and outputs of a merge; no weight has been read."""

    config: MergeConfig
    table: LayerTable
    """The base's target layers, and the tensors left out, which stay the base's."""
    base: Checkpoint
    experts: tuple[ModelWeights, ...]
    """One a step."""
    layout: StateLayout
    """The files of every state."""
    recipe: dict[str, Any]
    """Everything that the states' numbers depend on."""
    device: torch.device

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in the order they are merged."""
        return self.table.layers

    @property
    def notes(self) -> tuple[str, ...]:
        """Tensors that stay the base's, and warnings of the layer table, one sentence each."""
        counts = ", ".join(f"{n} {why}" for why, n in self.table.left_out_counts.items())
        kept = [f"{len(self.table.left_out)} tensors stay the base's ({counts})"] if counts else []
        return tuple(f"run {self.config.run}: {text}" for text in (*kept, *self.table.warnings))

    def base_weight(self, layer: Layer) -> Tensor:
        """The base's weight (d_out, d_in) on the device, in at least float32."""
        return _wide(self.base.read_layer(layer)).to(self.device)

    def update(self, layer: Layer, weight: Tensor, step: int) -> Tensor:
        """D_t = theta_expert,t - theta_base of one layer (d_out, d_in), in the type of the base's `weight`.

        Args:
            layer: the layer.
            weight: `base_weight` of it.
            step: t, from 1.
        """
        stored = self.experts[step - 1].read_layer(layer)
        if stored is None:
            return torch.zeros_like(weight)
        if isinstance(stored, Factors):
            # D_t = scale * B A
            B, A = stored.B.to(self.device).double(), stored.A.to(self.device).double()
            return (stored.scale * B @ A).to(weight.dtype)
        return (_wide(stored).to(self.device) - weight).to(weight.dtype)


def prepare_merge(config: MergeConfig) -> PreparedMerge:
    """Open a merge's checkpoints and check, from headers alone, that they fit together.

    Raises:
        CheckpointError: a checkpoint is missing, unreadable, or lacks a layer that the base has; an adapter is
            refused or another model's.
        SettingsError: the device does not exist, no layer is left to merge, or `out` lies in a checkpoint.
    """
    _check_outputs(config)
    device = pick_device(config.device)
    try:
        base = open_checkpoint(config.base)
        table = match_layers(base, families=config.families, pattern=config.layers)
    except GeodiagError as error:
        error.run = config.run
        raise
    experts = tuple(_open(config, step, base, table) for step in range(1, len(config.experts) + 1))
    paths = [config.base, *(expert.checkpoint for expert in config.experts)]
    prints = dict(zip(paths, map(fingerprint, (base, *experts)), strict=True))
    layout = state_layout(base, table.layers, dtype=config.dtype)
    return PreparedMerge(config, table, base, experts, layout, make_recipe(config, prints), device)


def _open(config: MergeConfig, step: int, base: Checkpoint, table: LayerTable) -> ModelWeights:
    try:
        expert = open_model(config.experts[step - 1].checkpoint, base=base)
        check_same_layers(table.layers, expert)
    except GeodiagError as error:
        error.run, error.step = config.run, step
        raise
    return expert


def _check_outputs(config: MergeConfig) -> None:
    """Refuse to write into a folder that the merge reads, and to extract a single state as a run."""
    for path in (config.base, *(expert.checkpoint for expert in config.experts)):
        if config.out == path or path in config.out.parents:
            message = f"'out' lies in the checkpoint {path}"
            raise SettingsError(message, where=config.out, run=config.run, fix="name a folder of its own")
    if config.states == "last" and config.store is not None:
        fix = "leave the store out, or say `states: all`"
        raise SettingsError("one merged model is no run to store", where=config.store, run=config.run, fix=fix)


def _wide(weight: Tensor) -> Tensor:
    return weight if weight.dtype == torch.float64 else weight.float()


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
