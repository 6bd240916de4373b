"""`--dry-run`: what an extraction takes, before it is paid for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from geodiag.checkpoints import Layer
from geodiag.errors import SettingsError
from geodiag.extraction import RunExtraction, Settings, prepare
from geodiag.extraction.gradients import GradientOptions, gradient_plan
from geodiag.extraction.run import DEFAULT_MEMORY
from geodiag.geometry.spectrum import BLOCK, DEPTH
from geodiag.runs import find_manifests, load_manifest

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_STORED_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


def parse_bytes(text: str) -> int:
    """`4GiB`, `500 MB` or `1000000` as bytes.

    Raises:
        SettingsError: it is none of these, or nothing.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if not found or found[2] not in _UNITS or float(found[1]) == 0:
        raise SettingsError(f"memory budget is {text!r}", where="settings", fix="write it as 4GiB or 500MB")
    return int(float(found[1]) * _UNITS[found[2]])


def plan_all(
    runs: Path,
    settings: Settings,
    *,
    gradients: GradientOptions | None = None,
    geometry: bool = True,
    memory: int = DEFAULT_MEMORY,
) -> Iterator[str]:
    """What every run below a folder would take, in lines for a person; reads headers only.

    Args:
        runs: a folder of runs, a run's folder, or a `run.yaml`.
        settings: what would be computed.
        gradients: the probes' options, where gradients would be measured.
        geometry: whether geometry would be.
        memory: bytes that updates or gradients may take at once.

    Raises:
        GeodiagError: the first run that cannot be extracted.
    """
    for path in find_manifests(runs):
        manifest = load_manifest(path)
        if geometry:
            yield _geometry_line(prepare(manifest, settings, device="cpu", memory=memory))
        if gradients is not None:
            yield from gradient_plan(manifest, settings, gradients, memory_budget=memory).lines()


def _geometry_line(run: RunExtraction) -> str:
    """Products with full updates are the Krylov iteration's, and two a pair for SAR."""
    plan, layers = run.plan, run.layers
    read = sum(len(run.checkpoints) * _stored(layer) for layer in layers)
    columns = len(plan.updates) * 2 * BLOCK * DEPTH + len(plan.pairs) * 2 * run.settings.rank
    flops = sum(2 * layer.d_out * layer.d_in * columns for layer in layers)
    held = max(min(run.memory, 8 * layer.d_out * layer.d_in * len(plan.updates)) for layer in layers)
    return (
        f"run {plan.manifest.run}: {plan.n_steps} steps, {len(layers)} layers, {len(plan.updates)} updates and"
        f" {len(plan.pairs)} pairs a layer; reads {read / 1e9:.2f} GB, {flops / 1e12:.3f} TFLOP of products,"
        f" holds up to {held / 1e9:.2f} GB of updates, {len(plan.pairs) * len(layers)} pair rows"
    )


def _stored(layer: Layer) -> int:
    return layer.d_out * layer.d_in * _STORED_BYTES[layer.dtype]
