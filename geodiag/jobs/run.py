"""One run into a store: what is there already, what is missing, and the commit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from geodiag import __version__
from geodiag.errors import StoreError
from geodiag.extraction import PER_LAYER_TABLES, RunExtraction, active_rows
from geodiag.jobs.config import changed_inputs, changed_settings, run_config, staging_key
from geodiag.jobs.progress import Progress
from geodiag.jobs.staging import Staging, rows_frame, sweep
from geodiag.runs import Manifest, load_scores, score_notes
from geodiag.store import StoreReader, add_table, create_store, write_run


def store_run(extraction: RunExtraction, store: Path, *, overwrite: bool, progress: Progress) -> str:
    """Extracts one run and brings it into the store whole.

    Args:
        extraction: a run that has passed its checks.
        store: the store's folder; made when it is not there.
        overwrite: replace a run that was extracted with other settings or from other checkpoints.
        progress: told of every layer.

    Returns:
        What was done, as a clause: `extracted 21 layers`, `scores refreshed`, `unchanged`.

    Raises:
        StoreError: the store holds the run with other settings or inputs and `overwrite` is not set.
        CheckpointError: a weight cannot be read or is not finite.
        ScoresError: the scores are wrong.
    """
    manifest = extraction.plan.manifest
    scores = load_scores(manifest)
    for note in (*extraction.notes, *score_notes(manifest, scores)):
        progress.note(note)
    config = run_config(extraction)
    create_store(store)
    stored = _stored_config(store, manifest.run)
    if stored is not None and not overwrite:
        _check_same(stored, config, manifest, store)
        if stored["tasks"] == config["tasks"]:
            return _refresh_scores(store, manifest.run, scores)
    staging = Staging(store, manifest.run, staging_key(config), tables=PER_LAYER_TABLES)
    _compute(extraction, staging, progress)
    tables = staging.collect(layer.name for layer in extraction.layers)
    tables |= {"active": rows_frame("active", active_rows(extraction.plan)), "scores": scores}
    tables["runs"] = rows_frame("runs", [_run_row(extraction, config)])
    write_run(store, manifest.run, tables, overwrite=stored is not None)
    sweep(store, manifest.run)
    return f"extracted {len(extraction.layers)} layers"


def _compute(extraction: RunExtraction, staging: Staging, progress: Progress) -> None:
    run, names = extraction.plan.manifest.run, [layer.name for layer in extraction.layers]
    done = staging.done(names)
    progress.run_started(run, parts=len(names), done=len(done), what="layers")
    for layer, rows in extraction.rows(done=done):
        staging.put(layer.name, rows)
        progress.part_done(run, layer.name)


def _stored_config(store: Path, run: str) -> dict[str, Any] | None:
    reader = StoreReader(store)
    return reader.config(run) if run in reader.run_ids() else None


def _check_same(stored: Mapping[str, Any], config: Mapping[str, Any], manifest: Manifest, store: Path) -> None:
    for kind, changes in (
        ("settings", changed_settings(stored, config)),
        ("inputs", changed_inputs(stored, config)),
    ):
        if changes:
            raise StoreError(
                f"it was extracted with other {kind} ({'; '.join(changes[:3])})",
                where=store,
                run=manifest.run,
                fix="pass --overwrite to replace it, or name another store",
            )


def _refresh_scores(store: Path, run: str, scores: pl.DataFrame) -> str:
    """Benchmarks are often rerun; new scores need no new geometry."""
    reader = StoreReader(store).only([run])
    kept = reader.scan("scores").drop("run").collect() if reader.has("scores") else scores.clear()
    order = ["step", "task"]
    if scores.is_empty() or kept.sort(order).equals(scores.select(kept.columns).sort(order)):
        return "unchanged"
    add_table(store, run, "scores", scores, overwrite=True)
    return "scores refreshed"


def _run_row(extraction: RunExtraction, config: Mapping[str, Any]) -> dict[str, Any]:
    manifest = extraction.plan.manifest
    return {
        "size": manifest.size,
        "method": manifest.method,
        "seed": manifest.seed,
        "n_steps": len(manifest.steps),
        "n_layers": len(extraction.layers),
        "base": str(manifest.base),
        "config": json.dumps(config, sort_keys=True),
        "geodiag_version": __version__,
        "created": datetime.now(UTC),
    }
