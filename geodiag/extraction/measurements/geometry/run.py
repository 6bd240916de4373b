"""The geometry measurement of one run: the loop over its layers, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch

from geodiag.checkpoints import Layer, Reading
from geodiag.common.text import counted
from geodiag.extraction.measurements.geometry.alignment import Basis, Batching
from geodiag.extraction.measurements.geometry.layer import LayerWork, layer_geometry
from geodiag.extraction.measurements.geometry.rows import layer_rows
from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.extraction.measurements.geometry.threads import Call, Prefetch, Workers
from geodiag.extraction.measurements.geometry.updates import LayerSource, LayerUpdates
from geodiag.extraction.measurements.measurement import Cost, MeasurementPlan, Row, Rows
from geodiag.extraction.run import DEFAULT_MEMORY, PreparedRun, prepare_run
from geodiag.geometry import SMALL_LAYER, product_dtype, spectrum_columns
from geodiag.runs import Manifest

MOST_AHEAD = 16
"""The most updates that are read ahead, or measured as one batch."""


@dataclass(frozen=True)
class LayerResult:
    """The rows and bases of one layer."""

    layer: Layer
    rows: dict[str, list[Row]]
    """By table, of the steps that were not stored."""
    bases: dict[str, Basis]
    """Of the task updates that were measured, by object: what steps added later need of them."""


@dataclass(frozen=True)
class GeometryRun(MeasurementPlan):
    """A prepared run with the settings of its geometry."""

    run: PreparedRun
    settings: GeometrySettings

    @property
    def parts(self) -> list[str]:
        """The names of the layers."""
        return [layer.name for layer in self.run.layers]

    @property
    def config(self) -> Mapping[str, Any]:
        """Every setting of the geometry."""
        return self.settings.to_config()

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the run's layers and adapters."""
        return self.run.notes

    def weight(self, part: str) -> float:
        """Bytes of a layer as stored."""
        return float(next(layer.stored_bytes for layer in self.run.layers if layer.name == part))

    def rows(self, parts: Sequence[str], *, say: Callable[[str], None]) -> Iterator[tuple[str, Rows]]:  # noqa: ARG002
        """Computes the layers named."""
        for result in self.layer_results(done=set(self.parts) - set(parts)):
            yield result.layer.name, result.rows

    def lines(self) -> list[str]:
        """The plan for a person: what is read, multiplied, held and stored."""
        plan, cost = self.run.plan, self.cost()
        return [
            f"run {plan.manifest.run}: {counted(plan.n_steps, 'step')}, {counted(len(self.run.layers), 'layer')},"
            f" {counted(len(plan.updates), 'update')} and {counted(len(plan.pairs), 'pair')} a layer;"
            f" reads {cost.read / 1e9:.2f} GB, {cost.flops / 1e12:.3f} TFLOP of products,"
            f" holds up to {cost.memory / 1e9:.2f} GB of weights and updates on {self.run.device},"
            f" stores {cost.rows} rows"
        ]

    def after(self, stored_steps: int) -> GeometryRun:
        """What is left of the run where its first steps have been extracted before."""
        return replace(self, run=replace(self.run, plan=self.run.plan.after(stored_steps)))

    def layer_results(
        self, *, done: Collection[str] = (), known: Callable[[Layer], Mapping[str, Basis]] = lambda _layer: {}
    ) -> Iterator[LayerResult]:
        """Computes layer after layer, letting go of each.

        Args:
            done: names of layers to leave out, because they were computed before.
            known: a layer's bases of stored steps' tasks, by object.

        Raises:
            CheckpointError: a weight cannot be read or is not finite; names the file and the tensor.
        """
        layers = [layer for layer in self.run.layers if layer.name not in done]
        begun: SimpleQueue[LayerWork | BaseException] = SimpleQueue()
        with (
            Workers(self.workers) as workers,
            Prefetch(self._reads(layers, known, begun, workers=workers.count)) as prefetch,
        ):
            for layer in layers:
                work = begun.get()
                if isinstance(work, BaseException):
                    raise work
                geometry = layer_geometry(work, workers, done=prefetch.done)
                yield LayerResult(layer, layer_rows(layer, self.run.plan, geometry), geometry.bases(self.run.plan))

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
                work = self._work(layer, known(layer) if self.run.plan.stored_steps else {}, workers=workers)
            except BaseException as error:
                begun.put(error)
                return
            begun.put(work)
            for i in work.order:
                yield work.batching.ahead, partial(work.updates.prefetch, i)

    def batching(self, layer: Layer, *, workers: int = 1) -> Batching:
        """How a layer's updates share the memory: all of them stay where they fit, else they are read again."""
        shape, exact = (layer.d_out, layer.d_in), self.settings.spectrum == "exact"
        entries = layer.d_out * layer.d_in
        rough = torch.float64 if exact else product_dtype(shape, self.run.device)
        # Beside D come the weight as stored, its rough copy and the Krylov iteration's; an exact SVD holds U and V.
        each = entries * (32 if exact else 12)
        kept = len(self.run.plan.needed) * entries * rough.itemsize
        ahead = max(1, min(MOST_AHEAD, self.run.memory // 8 // layer.stored_bytes))
        free = self.run.memory - ahead * layer.stored_bytes
        hold = kept + each * workers <= free
        # On the CPU a large update is best measured alone, while the caches hold it; small ones are shared out.
        alone = self.run.device.type == "cpu" and entries > SMALL_LAYER
        most = 1 if alone else min(MOST_AHEAD, -(-len(self.run.plan.needed) // workers))
        block = (free - kept * hold) // (each * workers)
        return Batching(max(1, min(block, most)), hold, rough, ahead)

    def _work(self, layer: Layer, known: Mapping[str, Basis], *, workers: int) -> LayerWork:
        dtype = torch.float64 if self.settings.spectrum == "exact" else torch.float32
        batching = self.batching(layer, workers=workers)
        # Within a window as wide as what is in hand and ahead, an update's neighbours are read once.
        window = workers * (batching.block + 2) + batching.ahead
        source = LayerSource(layer, self.run.checkpoints, self.run.plan.manifest.base)
        updates = LayerUpdates(source, self.run.plan.updates, device=self.run.device, dtype=dtype, window=window)
        return LayerWork(updates, self.run.plan, self.settings, batching, known)

    def _is_whole(self, layer: Layer, path: Path) -> bool:
        return self.run.checkpoints[path].holds(layer) == "whole"

    def cost(self) -> Cost:
        """Bytes, products, memory and rows of the run, from headers."""
        plan, layers = self.run.plan, self.run.layers
        each = len(plan.new) + len(plan.pairs) + (plan.n_steps - plan.stored_steps) + 1
        return Cost(
            read=sum(self._read_bytes(layer) for layer in layers),
            flops=sum(self.flops(layer) for layer in layers),
            memory=max(self._held_bytes(layer) for layer in layers),
            rows=each * len(layers),
        )

    def flops(self, layer: Layer) -> float:
        """Products of whole updates; those of adapters' factors are a few rows high and cost next to nothing."""
        whole = {i for i in self.run.plan.needed if not self._factored(layer, i)}
        columns = len(whole) * self.update_columns(layer)
        columns += self.settings.rank * sum((pair.i in whole) + (pair.j in whole) for pair in self.run.plan.pairs)
        return 2.0 * layer.d_out * layer.d_in * columns

    def update_columns(self, layer: Layer) -> float:
        """Products of one update's spectrum, as the number of columns that the update is multiplied with."""
        return spectrum_columns((layer.d_out, layer.d_in), rank=self.settings.rank, method=self.settings.spectrum)

    @property
    def workers(self) -> int:
        """Threads that measure updates side by side."""
        return torch.get_num_threads() if self.run.device.type == "cpu" else 1

    def _factored(self, layer: Layer, index: int) -> bool:
        update, base = self.run.plan.updates[index], self.run.plan.manifest.base
        return all(path == base or not self._is_whole(layer, path) for path in (update.new, update.old))

    def _read_bytes(self, layer: Layer) -> int:
        """Every whole weight once, or twice where the updates cannot be held until they are compared."""
        plan = self.run.plan
        whole = [i for i in plan.needed if not self._factored(layer, i)]
        ends = {path for i in whole for path in (plan.updates[i].new, plan.updates[i].old)}
        weights = {path if self._is_whole(layer, path) else plan.manifest.base for path in ends}
        passes = 1 if self.batching(layer, workers=self.workers).hold else 2
        return passes * len(weights) * layer.stored_bytes

    def _held_bytes(self, layer: Layer) -> int:
        """Updates that wait, updates in hand with what is computed of them, and weights that are read ahead."""
        workers, entries = self.workers, layer.d_out * layer.d_in
        batching = self.batching(layer, workers=workers)
        waiting = len(self.run.plan.needed) * entries * batching.rough.itemsize if batching.hold else 0
        in_hand = workers * batching.block * entries * (32 if self.settings.spectrum == "exact" else 12)
        return waiting + in_hand + (1 + batching.ahead) * layer.stored_bytes


def prepare_geometry(
    manifest: Manifest,
    settings: GeometrySettings,
    *,
    device: str = "auto",
    memory: int = DEFAULT_MEMORY,
    reading: Reading = "mmap",
) -> GeometryRun:
    """Opens a run and checks from headers alone that its geometry can be extracted (`prepare_run`)."""
    run = prepare_run(
        manifest, families=settings.families, pattern=settings.layers, device=device, memory=memory, reading=reading
    )
    return GeometryRun(run, settings)
