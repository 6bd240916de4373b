"""`--dry-run`: what an extraction takes, before it is paid for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from geodiag.checkpoints import Adapter, Layer, Reading
from geodiag.common.text import counted
from geodiag.errors import GeodiagError
from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.extraction.measurements.gradients.plan import GradientOptions, gradient_plan
from geodiag.extraction.run import RunExtraction, pick_device, prepare
from geodiag.geometry import spectrum_columns
from geodiag.jobs.devices import parse_devices
from geodiag.jobs.machine_speed import DeviceSpeed, DiskSpeed, measure_disk, measure_products
from geodiag.jobs.memory import default_budget
from geodiag.runs import find_manifests, load_manifest


@dataclass(frozen=True)
class Cost:
    """What one run's extraction takes."""

    read: int
    """Bytes of weights."""
    flops: float
    """Of products with whole updates; everything else is small beside them."""
    memory: int
    """Bytes of weights and updates at once, on the device."""
    rows: int
    """That enter the store."""

    def __add__(self, other: Cost) -> Cost:
        """Of two runs one after the other."""
        more = max(self.memory, other.memory)
        return Cost(self.read + other.read, self.flops + other.flops, more, self.rows + other.rows)


def plan_all(
    runs: Path,
    settings: GeometrySettings,
    *,
    device: str = "cpu",
    gradients: GradientOptions | None = None,
    geometry: bool = True,
    memory: int | None = None,
    reading: Reading = "mmap",
    probe: bool = True,
) -> Iterator[str]:
    """What every run below a folder would take, in lines for a person; reads headers, and a few MB to time them.

    Args:
        runs: a folder of runs, a run's folder, or a `run.yaml`.
        settings: what would be computed.
        device: where; several share the work.
        gradients: the probes' options, where gradients would be measured.
        geometry: whether geometry would be.
        memory: bytes that updates or gradients may take at once; None is half of what is free.
        reading: how weights would be read.
        probe: measure disk and device, to say how long it takes.

    Raises:
        GeodiagError: the first run that cannot be extracted.
    """
    devices = parse_devices(device)
    place = pick_device(devices[0])
    said = "given" if memory is not None else f"half of what is free on {place}"
    memory = default_budget(place) if memory is None else memory
    yield f"memory budget: {memory / 1e9:.2f} GB ({said})"
    extractions: list[RunExtraction] = []
    for path in find_manifests(runs):
        manifest = load_manifest(path)
        if geometry:
            extractions.append(prepare(manifest, settings, device=devices[0], memory=memory, reading=reading))
            yield _line(extractions[-1])
        if gradients is not None:
            yield from gradient_plan(manifest, settings, gradients, memory_budget=memory).lines()
    if extractions and probe:
        yield from _time_lines(extractions, devices=len(devices))


def run_cost(run: RunExtraction) -> Cost:
    """What one run takes, from headers."""
    plan, layers = run.plan, run.layers
    each = len(plan.new) + len(plan.pairs) + (plan.n_steps - plan.stored_steps) + 1
    return Cost(
        read=sum(_read_bytes(run, layer) for layer in layers),
        flops=sum(_flops(run, layer) for layer in layers),
        memory=max(_held_bytes(run, layer) for layer in layers),
        rows=each * len(layers),
    )


def update_columns(layer: Layer, settings: GeometrySettings) -> float:
    """The products of one update's spectrum, as the number of columns that the update is multiplied with."""
    return spectrum_columns((layer.d_out, layer.d_in), rank=settings.rank, method=settings.spectrum)


def _flops(run: RunExtraction, layer: Layer) -> float:
    """Products of whole updates; those of adapters' factors are a few rows high and cost next to nothing."""
    whole = {i for i in run.plan.needed if not _factored(run, layer, i)}
    columns = len(whole) * update_columns(layer, run.settings)
    columns += run.settings.rank * sum((pair.i in whole) + (pair.j in whole) for pair in run.plan.pairs)
    return 2.0 * layer.d_out * layer.d_in * columns


def _factored(run: RunExtraction, layer: Layer, index: int) -> bool:
    update, base = run.plan.updates[index], run.plan.manifest.base
    return all(path == base or not _is_whole(run, layer, path) for path in (update.new, update.old))


def _is_whole(run: RunExtraction, layer: Layer, path: Path) -> bool:
    source = run.checkpoints[path]
    return not isinstance(source, Adapter) or source.holds(layer) == "whole"


def _read_bytes(run: RunExtraction, layer: Layer) -> int:
    """Every whole weight once, or twice where the updates cannot be held until they are compared."""
    whole = [i for i in run.plan.needed if not _factored(run, layer, i)]
    ends = {path for i in whole for path in (run.plan.updates[i].new, run.plan.updates[i].old)}
    weights = {path if _is_whole(run, layer, path) else run.plan.manifest.base for path in ends}
    again = 1 if run.batching(layer, workers=_workers(run)).hold else 2
    return again * len(weights) * layer.stored_bytes


def _held_bytes(run: RunExtraction, layer: Layer) -> int:
    """Updates that wait, updates in hand with what is computed of them, and weights that are read ahead."""
    workers, entries = _workers(run), layer.d_out * layer.d_in
    batching = run.batching(layer, workers=workers)
    waiting = len(run.plan.needed) * entries * batching.rough.itemsize if batching.hold else 0
    in_hand = workers * batching.block * entries * (32 if run.settings.spectrum == "exact" else 12)
    return waiting + in_hand + (1 + batching.ahead) * layer.stored_bytes


def _workers(run: RunExtraction) -> int:
    return torch.get_num_threads() if run.device.type == "cpu" else 1


def _line(run: RunExtraction) -> str:
    plan, cost = run.plan, run_cost(run)
    return (
        f"run {plan.manifest.run}: {counted(plan.n_steps, 'step')}, {counted(len(run.layers), 'layer')},"
        f" {counted(len(plan.updates), 'update')} and {counted(len(plan.pairs), 'pair')} a layer;"
        f" reads {cost.read / 1e9:.2f} GB, {cost.flops / 1e12:.3f} TFLOP of products,"
        f" holds up to {cost.memory / 1e9:.2f} GB of weights and updates on {run.device}, stores {cost.rows} rows"
    )


def _time_lines(runs: list[RunExtraction], *, devices: int) -> Iterator[str]:
    """How long all runs take together, and what that is reckoned from."""
    cost = sum((run_cost(run) for run in runs[1:]), start=run_cost(runs[0]))
    disk = measure_disk(_files(runs))
    busiest = max(((run, layer) for run in runs for layer in run.layers), key=lambda both: _flops(*both))
    speed = _device_speed(*busiest) if cost.flops else None
    reading = cost.read / disk.rate if disk else 0.0
    computing = cost.flops / speed.updates / devices if speed else 0.0
    # Weights are read ahead while others are computed, so the slower of the two decides.
    yield (
        f"time: about {_duration(max(reading, computing))}: reading takes {_duration(reading)},"
        f" computing {_duration(computing)}, side by side"
    )
    yield from (f"measured just now: {one}" for one in _said(disk, speed))


def _said(disk: DiskSpeed | None, speed: DeviceSpeed | None) -> Iterable[str]:
    return [text for text in (f"reading {disk}" if disk else "", f"products {speed}" if speed else "") if text]


def _device_speed(run: RunExtraction, layer: Layer) -> DeviceSpeed:
    shape, columns = (layer.d_out, layer.d_in), update_columns(layer, run.settings)
    return measure_products(shape, columns, run.settings, run.device, workers=_workers(run))


def _files(runs: list[RunExtraction]) -> list[Path]:
    files = {file for run in runs for source in run.checkpoints.values() for file in source.files}
    found = sorted(file for file in files if file.suffix == ".safetensors")
    if not found:
        raise GeodiagError("no weights to read", fix="name runs with checkpoints")
    return found


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
