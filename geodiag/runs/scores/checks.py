"""Notes on valid scores: unmatched tasks and missing scores."""

from __future__ import annotations

from difflib import get_close_matches

import polars as pl

from geodiag.runs.manifest import OVERALL_TASK, Manifest
from geodiag.runs.scores.loading import source_notes


def untrained_tasks(manifest: Manifest, scores: pl.DataFrame) -> tuple[str, ...]:
    """Tasks that are scored and not trained, sorted; they are kept in the scores."""
    return tuple(sorted(set(scores["task"].to_list()) - {OVERALL_TASK, *manifest.tasks}))


def unscored_tasks(manifest: Manifest, scores: pl.DataFrame) -> tuple[str, ...]:
    """Tasks that are trained and never scored, in training order; they have no outcome."""
    scored = set(scores["task"].to_list())
    return tuple(task for task in manifest.tasks if task not in scored)


def score_notes(manifest: Manifest, scores: pl.DataFrame) -> list[str]:
    """What a person should know about a run's scores, one sentence each.

    Args:
        manifest: the run.
        scores: its scores, from `load_scores`.

    Returns:
        Sentences on tasks scored and not trained, tasks trained and never scored, missing scores, an
        unscored base, percentages that look like fractions, and on files of results that repeat each other or were
        made under different conditions. Empty when there is nothing to say.
    """
    if scores.is_empty():
        return [f"run {manifest.run} has no scores: geometry only, no outcomes"]
    notes = (_unscored_note, _untrained_note, _missing_note, _base_note, _scale_note)
    texts = [text for note in notes if (text := note(manifest, scores))]
    if manifest.scores is not None:
        texts += source_notes(manifest.scores, manifest)
    return [f"run {manifest.run}: {text}" for text in texts]


def _unscored_note(manifest: Manifest, scores: pl.DataFrame) -> str:
    unscored, extra = unscored_tasks(manifest, scores), untrained_tasks(manifest, scores)
    if not unscored:
        return ""
    near = {task: get_close_matches(task, extra, n=1, cutoff=0.5) for task in unscored}
    named = [f"{task} (is it {near[task][0]} in the scores?)" if near[task] else task for task in unscored]
    return f"trained but never scored, so without outcomes: {', '.join(named)}"


def _untrained_note(manifest: Manifest, scores: pl.DataFrame) -> str:
    extra = untrained_tasks(manifest, scores)
    return f"scored but not trained, and kept: {', '.join(extra)}" if extra else ""


def _missing_note(manifest: Manifest, scores: pl.DataFrame) -> str:
    """Scores of a task from its own step on: what drops and forgetting are made of."""
    have = set(scores.select("step", "task").iter_rows())
    scored = {task for _, task in have}
    needed = [
        (step, task)
        for trained_at, task in enumerate(manifest.tasks, start=1)
        for step in range(trained_at, len(manifest.steps) + 1)
        if task in scored
    ]
    missing = sorted(key for key in needed if key not in have)
    if not missing:
        return ""
    step, task = missing[0]
    return f"{len(missing)} of {len(needed)} scores of trained tasks are missing, first step {step}, task {task}"


def _base_note(_manifest: Manifest, scores: pl.DataFrame) -> str:
    return "" if (scores["step"] == 0).any() else "the base (step 0) is not scored, so there is no forward transfer"


def _scale_note(manifest: Manifest, scores: pl.DataFrame) -> str:
    top = float(scores["score"].max())  # type: ignore[arg-type]
    doubtful = manifest.score_scale == "percent" and 0 < top <= 0.01
    return "`score_scale: percent`, but no score is above 1: are they fractions?" if doubtful else ""
