"""A merge that has passed its checks: every checkpoint is open and has every layer."""

from __future__ import annotations

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
from geodiag.common.device import pick_device
from geodiag.errors import GeodiagError, SettingsError
from geodiag.merging.config import MergeConfig
from geodiag.merging.folder import make_recipe
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
