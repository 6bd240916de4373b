"""Preparing a run for extraction, and the loop over its layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import torch

from geodiag.checkpoints import (
    Adapter,
    Checkpoint,
    Layer,
    LayerTable,
    Reading,
    check_same_layers,
    match_layers,
    open_checkpoint,
    open_model,
    read_layer,
)
from geodiag.errors import GeodiagError, SettingsError
from geodiag.extraction.measurements.geometry.alignment import Batching
from geodiag.extraction.measurements.geometry.bases import Basis
from geodiag.extraction.measurements.geometry.layer import LayerWork, layer_geometry
from geodiag.extraction.measurements.geometry.rows import Row, layer_rows
from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.extraction.measurements.geometry.threads import Call, Prefetch, Workers
from geodiag.extraction.measurements.geometry.updates import LayerSource, LayerUpdates, Stored
from geodiag.extraction.plan import Plan, make_plan
from geodiag.geometry import SMALL_LAYER, product_dtype
from geodiag.runs import Manifest

DEFAULT_MEMORY = 4 * 2**30
"""Bytes that full updates may take on the device at once, where the caller does not say."""
MOST_AHEAD = 16
"""The most updates that are read ahead, or measured as one batch."""


@dataclass(frozen=True)
class LayerResult:
    """One layer's share of a run."""

    layer: Layer
    rows: dict[str, list[Row]]
    """By table, of the steps that were not stored."""
    bases: dict[str, Basis]
    """Of the task updates that were measured, by object: what steps added later need of them."""


@dataclass(frozen=True)
class RunExtraction:
    """A run that has passed its checks: every checkpoint opened, every layer found in all of them."""

    plan: Plan
    settings: GeometrySettings
    table: LayerTable
    """The base's target layers, and what was left out."""
    device: torch.device
    memory: int
    checkpoints: dict[Path, Checkpoint | Adapter]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in the order they are computed."""
        return self.table.layers

    def after(self, stored_steps: int) -> RunExtraction:
        """What is left of the run where its first steps have been extracted before."""
        return replace(self, plan=self.plan.after(stored_steps))

    def parts(
        self, *, done: Collection[str] = (), known: Callable[[Layer], Mapping[str, Basis]] = lambda _layer: {}
    ) -> Iterator[LayerResult]:
        """Computes layer after layer, letting go of each.

        Args:
            done: names of layers to leave out, because they were computed before.
            known: a layer's bases of stored steps' tasks, by object.

        Raises:
            CheckpointError: a weight cannot be read or is not finite; names the file and the tensor.
        """
        layers = [layer for layer in self.layers if layer.name not in done]
        begun: SimpleQueue[LayerWork | BaseException] = SimpleQueue()
        with (
            Workers(torch.get_num_threads() if self.device.type == "cpu" else 1) as workers,
            Prefetch(self._reads(layers, known, begun, workers=workers.count)) as prefetch,
        ):
            for layer in layers:
                work = begun.get()
                if isinstance(work, BaseException):
                    raise work
                found = layer_geometry(work, workers, done=prefetch.done)
                yield LayerResult(layer, layer_rows(layer, self.plan, found), found.bases(self.plan))

    def _reads(
        self,
        layers: Sequence[Layer],
        known: Callable[[Layer], Mapping[str, Basis]],
        begun: SimpleQueue[LayerWork | BaseException],
        *,
        workers: int,
    ) -> Iterator[Call]:
        """Every update's read, layer after layer, each of which is put into `begun` first, or the error that it met."""
        for layer in layers:
            try:
                work = self._work(layer, known(layer) if self.plan.stored_steps else {}, workers=workers)
            except BaseException as error:
                begun.put(error)
                return
            begun.put(work)
            yield from ((work.batching.ahead, partial(work.updates.prefetch, i)) for i in work.order)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the run before it is computed, one sentence each."""
        run = self.plan.manifest.run
        return tuple(f"run {run}: {text}" for text in (*self.table.warnings, *adapter_notes(self)))

    def batching(self, layer: Layer, *, workers: int = 1) -> Batching:
        """How a layer's updates share the memory: all of them stay where they fit, else they are read again."""
        shape, exact = (layer.d_out, layer.d_in), self.settings.spectrum == "exact"
        entries = layer.d_out * layer.d_in
        rough = torch.float64 if exact else product_dtype(shape, self.device)
        # Beside D come the weight as stored, its rough copy and the Krylov iteration's; an exact SVD holds U and V.
        each = entries * (32 if exact else 12)
        kept = len(self.plan.needed) * entries * rough.itemsize
        ahead = max(1, min(MOST_AHEAD, self.memory // 8 // layer.stored_bytes))
        free = self.memory - ahead * layer.stored_bytes
        hold = kept + each * workers <= free
        # On the CPU a large update is best measured alone, while the caches hold it; small ones are shared out.
        alone = self.device.type == "cpu" and entries > SMALL_LAYER
        most = 1 if alone else min(MOST_AHEAD, -(-len(self.plan.needed) // workers))
        block = (free - kept * hold) // (each * workers)
        return Batching(max(1, min(block, most)), hold, rough, ahead)

    def _work(self, layer: Layer, known: Mapping[str, Basis], *, workers: int) -> LayerWork:
        source = LayerSource(
            partial(self._read, layer),
            partial(self._is_whole, layer),
            partial(self._check, layer),
            base=self.plan.manifest.base,
            shape=(layer.d_out, layer.d_in),
        )
        dtype = torch.float64 if self.settings.spectrum == "exact" else torch.float32
        batching = self.batching(layer, workers=workers)
        # Within a window as wide as what is in hand and ahead, an update's neighbours are read once.
        window = workers * (batching.block + 2) + batching.ahead
        updates = LayerUpdates(source, self.plan.updates, device=self.device, dtype=dtype, window=window)
        return LayerWork(updates, self.plan, self.settings, batching, known)

    def _read(self, layer: Layer, path: Path) -> Stored:
        source = self.checkpoints[path]
        return source.read(layer) if isinstance(source, Adapter) else read_layer(source, layer, check=False)

    def _check(self, layer: Layer, path: Path) -> None:
        source = self.checkpoints[path]
        if not isinstance(source, Adapter):
            read_layer(source, layer)

    def _is_whole(self, layer: Layer, path: Path) -> bool:
        source = self.checkpoints[path]
        return not isinstance(source, Adapter) or source.holds(layer) == "whole"


def adapter_notes(extraction: RunExtraction) -> Iterator[str]:
    """What the adapters of a run leave as it is, counted: those layers have no update and no geometry."""
    adapters = [source for source in extraction.checkpoints.values() if isinstance(source, Adapter)]
    if not adapters:
        return
    counts = Counter(adapter.holds(layer) for adapter in adapters for layer in extraction.layers)
    whole = f", {counts['whole']} saved whole" if counts["whole"] else ""
    line = f"{len(adapters)} LoRA adapters, kept factored: {counts['factors']} layers with factors{whole}"
    if counts["nothing"]:
        line += f"; {counts['nothing']} layers that they leave as the base has them count as updates of zero"
    yield line


def prepare(
    manifest: Manifest,
    settings: GeometrySettings,
    *,
    device: str = "auto",
    memory: int = DEFAULT_MEMORY,
    reading: Reading = "mmap",
) -> RunExtraction:
    """Opens a run and checks from headers alone that it can be extracted.

    Args:
        manifest: the run.
        settings: what to compute.
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
        table = match_layers(base, families=settings.families, pattern=settings.layers)
    except GeodiagError as error:
        error.run = manifest.run
        raise
    checkpoints: dict[Path, Checkpoint | Adapter] = {manifest.base: base}
    for update in plan.updates:
        if update.new not in checkpoints:
            try:
                checkpoints[update.new] = open_model(update.new, base=base)
                check_same_layers(table.layers, checkpoints[update.new])
            except GeodiagError as error:
                error.run, error.step = manifest.run, update.step
                raise
    return RunExtraction(plan, settings, table, place, memory, checkpoints)


def pick_device(name: str) -> torch.device:
    """The torch device of `auto`, `cpu`, `cuda` or `cuda:<n>`.

    Raises:
        SettingsError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(
            f"unknown device {name!r}", where="--device", fix="one of auto, cpu, cuda, cuda:<n>"
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"device {name!r} is not there ({torch.cuda.device_count()} CUDA devices are)",
            where="--device",
            fix="use auto or cpu",
        )
    return device
