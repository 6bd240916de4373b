"""A run prepared for measurement: every checkpoint opened, every layer matched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from geodiag.checkpoints import (
    Layer,
    LayerTable,
    ModelWeights,
    Reading,
    check_same_layers,
    match_layers,
    open_checkpoint,
    open_model,
)
from geodiag.errors import GeodiagError
from geodiag.extraction.plan import Plan, make_plan
from geodiag.geometry.numerics import pick_device
from geodiag.runs import Manifest

DEFAULT_MEMORY = 4 * 2**30
"""Bytes that a measurement may take on the device at once, where the caller does not say."""


@dataclass(frozen=True)
class PreparedRun:
    """A run that has passed its checks: every checkpoint opened, every layer present in all of them."""

    plan: Plan
    table: LayerTable
    """The base's target layers, and what was left out."""
    device: torch.device
    memory: int
    """Bytes that full updates or gradients may take on the device at once."""
    checkpoints: dict[Path, ModelWeights]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in the order they are computed."""
        return self.table.layers

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the run before it is computed, one sentence each."""
        name = self.plan.manifest.run
        return tuple(f"run {name}: {text}" for text in (*self.table.warnings, *adapter_notes(self)))


def adapter_notes(run: PreparedRun) -> Iterator[str]:
    """Counts of the layers that the adapters of a run change, replace, or leave without an update."""
    adapters, counts = 0, Counter[str]()
    for source in run.checkpoints.values():
        if source.kind == "adapter":
            adapters += 1
            counts.update(source.holds(layer) for layer in run.layers)
    if not adapters:
        return
    whole = f", {counts['whole']} saved whole" if counts["whole"] else ""
    line = f"{adapters} LoRA adapters, kept factored: {counts['factors']} layers with factors{whole}"
    if counts["nothing"]:
        line += f"; {counts['nothing']} layers that they leave as the base has them count as updates of zero"
    yield line


def prepare_run(
    manifest: Manifest,
    *,
    families: tuple[str, ...],
    pattern: str | None = None,
    device: str = "auto",
    memory: int = DEFAULT_MEMORY,
    reading: Reading = "mmap",
) -> PreparedRun:
    """Opens a run and checks from headers alone that it can be measured.

    Args:
        manifest: the run.
        families: the projection families read.
        pattern: a regular expression that layer names must match somewhere; None takes all.
        device: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:<n>`.
        memory: bytes that full updates may take at once.
        reading: how weights are read from local disks, `mmap` or `buffered`.

    Raises:
        CheckpointError: a checkpoint is missing, unreadable, or lacks a layer that the base has; an adapter is
            refused or another model's.
        SettingsError: the device does not exist, or there is no such way of reading.
    """
    place = pick_device(device)
    plan = make_plan(manifest)
    try:
        base = open_checkpoint(manifest.base, reading=reading)
        table = match_layers(base, families=families, pattern=pattern)
    except GeodiagError as error:
        error.run = manifest.run
        raise
    checkpoints: dict[Path, ModelWeights] = {manifest.base: base}
    for update in plan.updates:
        if update.new not in checkpoints:
            try:
                checkpoints[update.new] = open_model(update.new, base=base)
                check_same_layers(table.layers, checkpoints[update.new])
            except GeodiagError as error:
                error.run, error.step = manifest.run, update.step
                raise
    return PreparedRun(plan, table, place, memory, checkpoints)
