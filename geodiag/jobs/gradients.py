"""Gradient conflict into a store: onto a run that is there, step by step, going on after a kill."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from geodiag.common.text import counted
from geodiag.errors import StoreError
from geodiag.extraction.measurements.gradients.plan import GradientOptions, GradientPlan, gradient_plan
from geodiag.extraction.measurements.gradients.rows import gradient_rows
from geodiag.extraction.run import RunExtraction
from geodiag.jobs.events import Outcome, Progress
from geodiag.jobs.lock import run_lock
from geodiag.jobs.restart import Staging
from geodiag.jobs.stored_config import run_config, staging_key
from geodiag.store import StoreReader, add_table, recover

KEY = "gradients"
"""The table, and the key of the run's config that holds its options."""


def store_gradients(
    extraction: RunExtraction,
    store: Path,
    options: GradientOptions,
    *,
    memory: int,
    overwrite: bool,
    strict: bool,
    progress: Progress,
) -> Outcome:
    """Measures one stored run's gradients and adds them to it.

    Args:
        extraction: the run, checked.
        store: the store that holds it.
        options: which probes, and how.
        memory: bytes that gradients may take on the device at once.
        overwrite: replace gradients made with other options.
        strict: whether a trained task without probes is an error.
        progress: told of every step.

    Returns:
        What was done: `gradients at 13 steps`, `gradients unchanged`.

    Raises:
        ProbesError: the manifest names no probes, or they are wrong.
        StoreError: the run is not in the store, or has gradients made with other options.
    """
    manifest = extraction.plan.manifest
    plan = gradient_plan(manifest, extraction.settings, options, memory_budget=memory, strict=strict)
    for note in plan.notes:
        progress.note(note)
    wanted = options.to_config() | {"drawn": _digests(plan)}
    stored = _stored_options(store, manifest.run)
    if stored == wanted:
        return Outcome("unchanged", "gradients unchanged")
    gained = stored is not None and _only_more_tasks(stored, wanted)
    if stored is not None and not (overwrite or gained):
        fix = "pass --overwrite to replace them"
        raise StoreError("it has gradients of other probes or options", where=store, run=manifest.run, fix=fix)
    if not plan.steps:
        return Outcome("unchanged", "no gradients: no step has two tasks to compare")
    key = staging_key(run_config(extraction) | {KEY: wanted})
    staging = Staging(store, manifest.run, key, tables=(KEY,))
    with run_lock(store, manifest.run, say=progress.note):
        kept = _kept_rows(store, manifest.run) if gained and not overwrite else None
        steps = [step.step for step in plan.steps if kept is None or step.step not in kept["step"]]
        _compute(plan, steps, staging, extraction, progress)
        frame = staging.collect(map(_part, steps))[KEY]
        frame = frame if kept is None else pl.concat([kept.select(frame.columns), frame])
        add_table(store, manifest.run, KEY, frame, settings={KEY: wanted}, overwrite=True)
        staging.clear()
    return Outcome("done", f"gradients at {counted(len(steps), 'step')}")


def _compute(
    plan: GradientPlan, steps: Sequence[int], staging: Staging, extraction: RunExtraction, progress: Progress
) -> None:
    run, parts = plan.manifest.run, {_part(step): step for step in steps}
    done = staging.done(parts)
    progress.run_started(run, parts=len(parts), done=len(done), what="steps")
    left = {parts[part] for part in parts if part not in done}
    others = [step.step for step in plan.steps if step.step not in left]
    rows = gradient_rows(plan, device=str(extraction.device), done=others, say=progress.note)
    for step, found in rows:
        staging.put(_part(step), {KEY: found})
        progress.part_done(run, _part(step))


def _part(step: int) -> str:
    return f"step-{step:04d}"


def _digests(plan: GradientPlan) -> dict[str, str]:
    """What was drawn of each task, so that other probes under the same name are seen."""
    return {
        task: hashlib.sha256("".join(probe.digest(plan.options.seed) for probe in probes).encode()).hexdigest()[:16]
        for task, probes in plan.probes.items()
    }


def _only_more_tasks(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the same was drawn of every task that was there, with the same options; others have come."""
    before, now = stored.get("drawn"), wanted["drawn"]
    same = {**stored, "drawn": now} == wanted
    return same and isinstance(before, dict) and all(now.get(task) == digest for task, digest in before.items())


def _kept_rows(store: Path, run: str) -> pl.DataFrame:
    return StoreReader(store).only([run]).scan(KEY).drop("run").collect()


def _stored_options(store: Path, run: str) -> dict[str, Any] | None:
    reader = StoreReader(store)
    recover(store)
    if run not in reader.run_ids():
        raise StoreError("the run is not in the store", where=store, run=run, fix="extract it without --gradients-only")
    found: dict[str, Any] | None = reader.config(run).get(KEY)
    return found
