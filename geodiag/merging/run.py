"""A whole merge: layer after layer through all steps, into a run that extraction reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from geodiag.checkpoints import Layer
from geodiag.common.files import write_text, written_aside
from geodiag.common.text import counted
from geodiag.errors import CheckpointError
from geodiag.geometry import SMALL_LAYER, one_thread
from geodiag.jobs.events import Progress, Silent
from geodiag.jobs.restart import rows_frame
from geodiag.merging.chain import LayerStep, merge_layer
from geodiag.merging.config import MergeConfig
from geodiag.merging.folder import ROWS_FILE, RUN_FILE, MergeRow, RunFolder, check_space
from geodiag.merging.prepare import PreparedMerge, prepare_merge
from geodiag.merging.rules import MergeRule


@dataclass(frozen=True)
class MergedRun:
    """The result of a merge."""

    run: str
    """Its id."""
    path: Path
    """Its folder, with run.yaml and the states."""
    last: Path
    """The state after the last step, a checkpoint."""
    detail: str
    """A summary of the work: `merged 196 layers, wrote 3 states`, `unchanged`."""
    stored: str | None = None
    """A summary of the extraction, where a store was named."""

    def merges(self) -> pl.DataFrame:
        """Diagnostics of the rule: one row a step and layer, with the columns of the store's table `merges`."""
        return pl.read_parquet(self.path / ROWS_FILE)

    def _repr_html_(self) -> str:
        means = pl.col("conflict", "alpha", "share", "merged_norm", "state_norm").mean()
        by_step: str = self.merges().group_by("step", maintain_order=True).agg(means)._repr_html_()
        return f"<p>{self.run}: {self.detail}. Means over layers:</p>{by_step}"


def run_merge(config: MergeConfig, *, progress: Progress | None = None) -> MergedRun:
    """Merge experts one after another into a run, going on where an earlier attempt stopped.

    Layers are read, merged and written one at a time, so memory holds the updates of one layer. A configuration
    that has gained experts adds their steps to the run. What is finished is never written again.

    Args:
        config: base, experts and rule.
        progress: called for every layer.

    Raises:
        CheckpointError: a checkpoint cannot be read, holds NaN or infinities, or does not fit the base.
        SettingsError: `out` holds something else, or a merge with other settings.
        StoreError: the store that was named holds the run with other settings.
    """
    progress = progress or Silent()
    prepared = prepare_merge(config)
    folder = RunFolder(config.out, config.experts)
    steps = config.steps_to_write(folder.steps_done(prepared.recipe))
    detail = f"merged {counted(len(prepared.layers), 'layer')}, wrote {counted(len(steps), 'state')}"
    try:
        if steps:
            _merge(prepared, folder, steps, progress)
        if config.states == "all":
            write_text(config.out / RUN_FILE, _manifest(config, folder))
    except OSError as error:
        fix = "check space and permissions, then run it again: it goes on from there"
        raise CheckpointError(f"cannot write ({error})", where=config.out, run=config.run, fix=fix) from error
    finally:
        progress.run_ended(config.run)
    merged = MergedRun(config.run, config.out, folder.state(len(config.experts)), detail if steps else "unchanged")
    return merged if config.store is None else _store(merged, config, progress)


def _merge(prepared: PreparedMerge, folder: RunFolder, steps: range, progress: Progress) -> None:
    config, names = prepared.config, [layer.name for layer in prepared.layers]
    for note in prepared.notes:
        progress.note(note)
    check_space(config.out, len(steps) * prepared.layout.size)
    with folder.working(prepared.recipe):
        folder.begin(prepared.recipe, prepared.layout, steps=steps)
        done = folder.done(names)
        progress.run_started(config.run, parts=len(names), done=len(done), what="layers")
        for layer in (layer for layer in prepared.layers if layer.name not in done):
            folder.put_rows(layer.name, _merge_layer(prepared, folder, layer, steps))
            progress.part_done(config.run, layer.name)
        rows = folder.rows(names)
        if config.rule.scaled:
            rows = _scaled(prepared, folder, rows, steps)
        _keep_rows(config.out / ROWS_FILE, [row for row in rows if row["step"] in steps], before=steps[0])
        folder.finish(prepared.recipe, steps=steps)
    folder.clear()


def _merge_layer(prepared: PreparedMerge, folder: RunFolder, layer: Layer, steps: range) -> list[MergeRow]:
    """One layer through all steps: its weights are in all states when this returns its rows."""
    config, rows = prepared.config, []
    changes: dict[str, Tensor] = {}
    scaled = config.rule.scaled  # the scale of the whole model needs the norms of all layers and steps
    # On a matrix this small, threads wait for each other longer than they compute.
    with one_thread(when=prepared.device.type == "cpu" and layer.d_out * layer.d_in <= SMALL_LAYER):
        weight = prepared.base_weight(layer)
        read: Callable[[int], Tensor] = partial(prepared.update, layer, weight)
        for result in merge_layer(read, config, first=1 if scaled else steps[0]):
            rows.append(_row(layer, result))
            if scaled and result.step in steps:
                changes[str(result.step)] = result.change.cpu()
            elif not scaled:
                _put(prepared, folder, layer, result.step, weight + result.change)
    if changes:
        path = folder.changes(layer.name)
        path.parent.mkdir(exist_ok=True)
        save_file(changes, path)
    return rows


def _put(prepared: PreparedMerge, folder: RunFolder, layer: Layer, step: int, weight: Tensor) -> None:
    stored = weight.to(getattr(torch, prepared.layout.slots[layer.tensor].dtype))
    if not bool(stored.isfinite().all()):
        fix = "lower eta or the rule's scale, or store the states in a wider type"
        message = f"the merge is not finite as {str(stored.dtype).removeprefix('torch.')}"
        raise CheckpointError(message, run=prepared.config.run, step=step, tensor=layer.tensor, fix=fix)
    prepared.layout.put(folder.draft(step), layer, stored)


def _row(layer: Layer, result: LayerStep) -> MergeRow:
    keys = {"step": result.step, "layer": layer.name, "block": layer.block, "family": layer.family}
    norms = {"new_norm": result.new_norm, "merged_norm": result.merged_norm, "state_norm": result.state_norm}
    return keys | {"active": result.active} | norms | vars(result.stats)


def _scaled(prepared: PreparedMerge, folder: RunFolder, rows: Sequence[MergeRow], steps: range) -> list[MergeRow]:
    """Write the states of a scaled rule, whose scale all layers and steps decide; the rows with scaled norms."""
    scales = {step: _scale(prepared.config.rule, step, rows) for step in range(1, steps[-1] + 1)}
    for layer in prepared.layers:
        weight, changes = prepared.base_weight(layer), load_file(folder.changes(layer.name))
        for step in steps:
            if folder.draft(step).is_dir():
                change = changes[str(step)].to(prepared.device)
                _put(prepared, folder, layer, step, weight + scales[step] * change)
    sized = ("merged_norm", "state_norm")
    return [{**row, **{name: scales[row["step"]] * row[name] for name in sized}} for row in rows]


def _scale(rule: MergeRule, step: int, rows: Sequence[MergeRow]) -> float:
    new_norms = [_model_norm(rows, s, "new_norm") for s in range(1, step + 1)]
    return rule.model_scale(new_norms, _model_norm(rows, step, "state_norm"))


def _model_norm(rows: Sequence[MergeRow], step: int, norm: str) -> float:
    """A norm of a step over all layers."""
    return float(sum(row[norm] ** 2 for row in rows if row["step"] == step) ** 0.5)


def _keep_rows(path: Path, rows: Sequence[MergeRow], *, before: int) -> None:
    """Write rows after those of the steps before, which an earlier merge left."""
    frame = rows_frame("merges", rows).sort("step", maintain_order=True)
    if before > 1 and path.is_file():
        frame = pl.concat([pl.read_parquet(path).filter(pl.col("step") < before), frame])
    with written_aside(path) as draft:
        frame.write_parquet(draft, compression="zstd")


def _manifest(config: MergeConfig, folder: RunFolder) -> str:
    """run.yaml of the finished run, with paths relative to it."""

    def relative(path: Path) -> str:
        return os.path.relpath(path, config.out)

    steps = [
        {"task": e.label, "state": relative(folder.state(n)), "expert": relative(e.checkpoint)}
        for n, e in enumerate(config.experts, start=1)
    ]
    named = {"run": config.run, "size": config.size, "method": config.method_label, "seed": config.seed}
    given = {"base": relative(config.base), "updates": "experts", "memory": config.memory}
    files: dict[str, Any] = {"scores": config.scores, "probes": config.probes}
    paths = {key: relative(path) for key, path in files.items() if path is not None}
    if config.scores is not None:
        paths["score_scale"] = config.score_scale
    text = {key: value for key, value in (named | given | paths).items() if value is not None} | {"steps": steps}
    return yaml.safe_dump(text, sort_keys=False, width=120, allow_unicode=True)


def _store(merged: MergedRun, config: MergeConfig, progress: Progress) -> MergedRun:
    """Extract the run into the store that was named, and add the diagnostics of the rule."""
    from geodiag.jobs import Work, extract_all
    from geodiag.store import StoreReader, add_table

    assert config.store is not None
    work = Work(store=config.store, device=config.device, strict=True)
    report = extract_all(merged.path, work, progress=progress)
    rows, reader = merged.merges(), StoreReader(config.store).only([config.run])
    if not reader.scan("merges").drop("run").collect().sort("step", "layer").equals(rows.sort("step", "layer")):
        add_table(config.store, config.run, "merges", rows, overwrite=True)
    return replace(merged, stored=report.outcomes[0].detail)
