"""`--dry-run`: what an extraction takes, before it is paid for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from geodiag.extraction import RunExtraction, Settings, prepare
from geodiag.extraction.gradients import GradientOptions, gradient_plan
from geodiag.geometry.spectrum import BLOCK, DEPTH
from geodiag.jobs.memory import default_budget
from geodiag.jobs.shards import stored_bytes
from geodiag.runs import find_manifests, load_manifest


def plan_all(
    runs: Path,
    settings: Settings,
    *,
    gradients: GradientOptions | None = None,
    geometry: bool = True,
    memory: int | None = None,
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
    memory = default_budget(torch.device("cpu")) if memory is None else memory
    for path in find_manifests(runs):
        manifest = load_manifest(path)
        if geometry:
            yield _geometry_line(prepare(manifest, settings, device="cpu", memory=memory))
        if gradients is not None:
            yield from gradient_plan(manifest, settings, gradients, memory_budget=memory).lines()


def _geometry_line(run: RunExtraction) -> str:
    """Products with full updates are the Krylov iteration's, and two a pair for SAR."""
    plan, layers = run.plan, run.layers
    read = sum(len(run.checkpoints) * stored_bytes(layer) for layer in layers)
    columns = len(plan.updates) * 2 * BLOCK * DEPTH + len(plan.pairs) * 2 * run.settings.rank
    flops = sum(2 * layer.d_out * layer.d_in * columns for layer in layers)
    held = max(min(run.memory, 8 * layer.d_out * layer.d_in * len(plan.updates)) for layer in layers)
    return (
        f"run {plan.manifest.run}: {plan.n_steps} steps, {len(layers)} layers, {len(plan.updates)} updates and"
        f" {len(plan.pairs)} pairs a layer; reads {read / 1e9:.2f} GB, {flops / 1e12:.3f} TFLOP of products,"
        f" holds up to {held / 1e9:.2f} GB of updates, {len(plan.pairs) * len(layers)} pair rows"
    )
