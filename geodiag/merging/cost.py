"""`--dry-run`: what a merge takes, before it is paid for."""

from __future__ import annotations

from collections.abc import Iterator

from geodiag.checkpoints import Layer
from geodiag.common.text import counted
from geodiag.geometry import spectrum_columns
from geodiag.merging.config import MergeConfig
from geodiag.merging.folder import RunFolder
from geodiag.merging.prepare import PreparedMerge, prepare_merge
from geodiag.merging.products import KEPT, PATH_DIRECTIONS, PROBES
from geodiag.merging.settings import GcwmRule, OpcmRule, WudiRule, WudiSettings

_WORKING_BYTES = 4
"""Updates are held in float32."""


def plan_merge(config: MergeConfig) -> Iterator[str]:
    """What a merge would take, in lines for a person; reads headers only.

    Args:
        config: base, experts and rule.

    Raises:
        GeodiagError: what would stop the merge.
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


def active_count(config: MergeConfig, step: int) -> int:
    """How many updates a rule merges at a step."""
    if isinstance(config.rule, OpcmRule) or step == 1:
        return 1
    if config.memory == "anchor":
        return 2
    return step if config.memory == "all" else min(step, int(config.memory))


def layer_flops(layer: Layer, config: MergeConfig, steps: range) -> tuple[float, float]:
    """The least and the most floating-point operations of the large products on one layer.

    They differ in how many of WUDI's products can be predicted, which the updates decide.
    """
    entry, rule = 2 * layer.d_out * layer.d_in, config.rule
    least = most = 0.0
    if isinstance(rule, GcwmRule):
        of = rule.spectrum
        columns = spectrum_columns((layer.d_out, layer.d_in), rank=of.rank, method=of.method)
        least = most = len(config.experts) * entry * columns
    if isinstance(rule, OpcmRule):
        least = most = len(config.experts) * 10 * entry * min(layer.d_out, layer.d_in)
    if isinstance(rule, GcwmRule | WudiRule):
        solver = rule.wudi if isinstance(rule, GcwmRule) else rule
        solutions = 2 if isinstance(rule, GcwmRule) and rule.gate.mode == "conflict" else 1
        for m in (active_count(config, step) for step in steps):
            if m > 1:
                low, high = _solution_flops(layer, m, solver)
                least, most = least + solutions * low, most + solutions * high
    return least, most


def _solution_flops(layer: Layer, m: int, solver: WudiSettings) -> tuple[float, float]:
    """One WUDI solution of m updates: the gradient at the start, H, and the iterations."""
    entry, d_in = 2 * layer.d_out * layer.d_in, layer.d_in
    start = m * 2 * entry * min(layer.d_out, d_in)
    gram = m * entry * d_in * 10 / 16
    full = start + gram + solver.iterations * entry * d_in
    if solver.solver == "exact":
        return (exact := start + gram + d_in**3 / 3 + entry * d_in), exact
    if solver.tolerance == 0 or d_in < 8 * PATH_DIRECTIONS:
        return full, full
    top = m * 10 * entry * (PATH_DIRECTIONS + PROBES)
    predicted = solver.iterations * entry * (2 * PATH_DIRECTIONS + PROBES)
    return start + top + predicted, full + top + predicted


def merge_bytes(layer: Layer, config: MergeConfig) -> int:
    """Memory that a layer's updates, its Gram matrix and the solver take at once, at the last step."""
    m = active_count(config, len(config.experts))
    weights, square = m + 4, 0
    if isinstance(config.rule, GcwmRule | WudiRule) and m > 1:
        weights += m + 3 + KEPT
        square = 2 * layer.d_in**2
    if isinstance(config.rule, OpcmRule):
        weights += len(config.experts) + 3
    return _WORKING_BYTES * (weights * layer.d_out * layer.d_in + square)


def _read_bytes(prepared: PreparedMerge) -> int:
    """The base once for the layers and once for what is copied, and every expert once."""
    models = sum(1 for expert in prepared.experts if expert.kind == "checkpoint") + 1
    adapters = [file for expert in prepared.experts if expert.kind == "adapter" for file in expert.files]
    return models * prepared.layout.size + sum(file.stat().st_size for file in adapters)


def _written_bytes(prepared: PreparedMerge, steps: range) -> int:
    changes = 0
    if isinstance(prepared.config.rule, OpcmRule):
        changes = _WORKING_BYTES * sum(layer.d_out * layer.d_in for layer in prepared.layers)
    return len(steps) * (prepared.layout.size + changes)
