"""Checks of a run's scores: errors of a row or of them all, and notes on valid scores."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import polars as pl

from geodiag.errors import ScoresError
from geodiag.runs.manifest import OVERALL_TASK, Manifest
from geodiag.runs.scores.source import RawScore

SCORE_SCALES = {"fraction": 1.0, "percent": 100.0}
"""The largest score of each scale that a manifest may name."""


def check_scores(scores: Sequence[RawScore], manifest: Manifest) -> None:
    """Refuse scores that do not fit the run.

    Args:
        scores: the scores as their source gives them.
        manifest: the run.

    Raises:
        ScoresError: there is none; a step, a score, its error or its count is out of range; a task is scored twice at
            a step; or no trained task is scored.
    """
    if not scores:
        raise ScoresError("every score is empty", where=manifest.scores, run=manifest.run)
    for score in scores:
        _check_score(score, manifest)
    _check_tasks(scores, manifest)


def _check_score(score: RawScore, manifest: Manifest) -> None:
    last, top = len(manifest.steps), SCORE_SCALES[manifest.score_scale]
    if not 0 <= score.step <= last:
        problem = f"step {score.step} is not a step of the run"
        raise ScoresError(problem, where=score.where, run=manifest.run, fix=f"steps go from 0 (the base) to {last}")
    if not 0 <= score.score <= top:
        problem = f"score {score.score:g} of task {score.task} is outside 0..{top:g}"
        percent = manifest.score_scale == "fraction" and 1 < score.score <= 100
        fix = "if the scores are percentages, say `score_scale: percent` in run.yaml" if percent else "mend the score"
        raise ScoresError(problem, where=score.where, run=manifest.run, fix=fix)
    if score.stderr is not None and not 0 <= score.stderr <= top:
        problem = f"stderr {score.stderr:g} of task {score.task} is outside 0..{top:g}"
        raise ScoresError(problem, where=score.where, run=manifest.run, fix="give it in the scale of the scores")
    if score.n is not None and not (1 <= score.n < 2**63 and score.n == int(score.n)):
        problem = f"n {score.n:g} of task {score.task} is not a number of examples"
        raise ScoresError(problem, where=score.where, run=manifest.run, fix="give a whole number from 1")


def _check_tasks(scores: Sequence[RawScore], manifest: Manifest) -> None:
    """Refuse a task that is scored twice at a step, and scores of untrained tasks alone."""
    first: dict[tuple[int, str], str] = {}
    scored: set[str] = set()
    for score in scores:
        key = (score.step, score.task)
        if key in first:
            problem = f"step {score.step}, task {score.task} is scored here again, first at {first[key]}"
            raise ScoresError(problem, where=score.where, run=manifest.run, fix="keep one score a step and task")
        first[key] = score.where
        scored.add(score.task)
    if scored.isdisjoint((OVERALL_TASK, *manifest.tasks)):
        problem = f"none of the trained tasks is scored; scored are {', '.join(sorted(scored)[:8])}"
        fix = f"name columns or tasks as in run.yaml: {', '.join(manifest.tasks[:8])}"
        raise ScoresError(problem, where=manifest.scores, run=manifest.run, fix=fix)


def untrained_tasks(manifest: Manifest, scores: pl.DataFrame) -> tuple[str, ...]:
    """Tasks that are scored and not trained, sorted; they are kept in the scores."""
    return tuple(sorted(set(scores["task"].to_list()) - {OVERALL_TASK, *manifest.tasks}))


def unscored_tasks(manifest: Manifest, scores: pl.DataFrame) -> tuple[str, ...]:
    """Tasks that are trained and never scored, in training order; they have no outcome."""
    scored = set(scores["task"].to_list())
    return tuple(task for task in manifest.tasks if task not in scored)


def notes_on_scores(manifest: Manifest, scores: pl.DataFrame) -> list[str]:
    """Notes on tasks without scores, tasks that were not trained, missing scores, the base, and the scale.

    Args:
        manifest: the run.
        scores: its scores, with at least one row.
    """
    notes, unscored, extra = [], unscored_tasks(manifest, scores), untrained_tasks(manifest, scores)
    if unscored:
        near = {task: get_close_matches(task, extra, n=1, cutoff=0.5) for task in unscored}
        named = [f"{task} (is it {near[task][0]} in the scores?)" if near[task] else task for task in unscored]
        notes.append(f"trained but never scored, so without outcomes: {', '.join(named)}")
    if extra:
        notes.append(f"scored but not trained, and kept: {', '.join(extra)}")
    if missing := _missing_note(manifest, scores):
        notes.append(missing)
    if not (scores["step"] == 0).any():
        notes.append("the base (step 0) is not scored, so there is no forward transfer")
    top = float(scores["score"].max())  # type: ignore[arg-type]
    if manifest.score_scale == "percent" and 0 < top <= 0.01:
        notes.append("`score_scale: percent`, but no score is above 1: are they fractions?")
    return notes


def _missing_note(manifest: Manifest, scores: pl.DataFrame) -> str:
    """Scores of a task from its own step on, from which drops and forgetting are computed."""
    present, scored = set(scores.select("step", "task").iter_rows()), set(scores["task"])
    needed: set[tuple[int, str]] = set()
    for trained_at, task in enumerate(manifest.tasks, start=1):
        if task in scored:
            needed.update((step, task) for step in range(trained_at, len(manifest.steps) + 1))
    missing = sorted(needed - present)
    if not missing:
        return ""
    step, task = missing[0]
    return f"{len(missing)} of {len(needed)} scores of trained tasks are missing, first step {step}, task {task}"
