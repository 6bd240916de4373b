"""`--dry-run`: what an extraction takes, before it is paid for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from geodiag.checkpoints import Layer
from geodiag.errors import GeodiagError
from geodiag.extraction.measurements.geometry.run import GeometryRun, prepare_geometry
from geodiag.geometry.numerics import pick_device
from geodiag.jobs.batch import Work
from geodiag.jobs.devices import parse_devices
from geodiag.jobs.machine import DeviceSpeed, DiskSpeed, default_budget, measure_disk, measure_products
from geodiag.runs import find_manifests, load_manifest


def plan_all(runs: Path, work: Work, *, timed: bool = True) -> Iterator[str]:
    """What every run below a folder would take, in lines for a person; reads headers, and a few MB to time them.

    Args:
        runs: a folder of runs, a run's folder, or a `run.yaml`.
        work: what would be measured; several devices share it.
        timed: measure disk and device, to say how long it takes.

    Raises:
        GeodiagError: the first run that cannot be extracted.
    """
    devices = parse_devices(work.device)
    place = pick_device(devices[0])
    source = "given" if work.memory is not None else f"half of what is free on {place}"
    memory = default_budget(place) if work.memory is None else work.memory
    yield f"memory budget: {memory / 1e9:.2f} GB ({source})"
    planned: list[GeometryRun] = []
    for path in find_manifests(runs):
        manifest = load_manifest(path)
        geometry = prepare_geometry(manifest, work.geometry, device=devices[0], memory=memory, reading=work.reading)
        for measurement in work.measurements:
            plan = measurement.plan(
                geometry.run, work.options(measurement), selection=work.geometry, strict=work.strict
            )
            yield from plan.lines()
            if isinstance(plan, GeometryRun):
                planned.append(plan)
    if work.shard is not None:
        yield f"shard {work.shard}: its part of this"
    if planned and timed:
        yield from _time_lines(planned, devices=len(devices))


def _time_lines(runs: list[GeometryRun], *, devices: int) -> Iterator[str]:
    """How long all runs take together, and what that is reckoned from."""
    cost = sum((run.cost() for run in runs[1:]), start=runs[0].cost())
    disk = measure_disk(_files(runs))
    busiest = max(((run, layer) for run in runs for layer in run.run.layers), key=lambda both: both[0].flops(both[1]))
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


def _device_speed(geometry: GeometryRun, layer: Layer) -> DeviceSpeed:
    shape, columns = (layer.d_out, layer.d_in), geometry.update_columns(layer)
    return measure_products(shape, columns, geometry.settings, geometry.run.device, workers=geometry.workers)


def _files(runs: list[GeometryRun]) -> list[Path]:
    files = {file for run in runs for source in run.run.checkpoints.values() for file in source.files}
    weights = sorted(file for file in files if file.suffix == ".safetensors")
    if not weights:
        raise GeodiagError("no weights to read", fix="name runs with checkpoints")
    return weights


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
