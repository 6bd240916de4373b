"""The scores of a run, in one form: step, task, score as a fraction."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from geodiag.errors import ScoresError
from geodiag.runs.manifest import Manifest
from geodiag.runs.names import OVERALL
from geodiag.runs.score_readers import read_raw_scores
from geodiag.runs.score_source import RawScore

SCORES_SCHEMA = {"step": pl.Int32, "task": pl.Utf8, "score": pl.Float64, "stderr": pl.Float64, "n": pl.Int64}
"""The columns of every frame of scores."""

_SCALE = {"fraction": 1.0, "percent": 100.0}


def load_scores(manifest: Manifest) -> pl.DataFrame:
    """Read the scores that a manifest names.

    Args:
        manifest: the run.

    Returns:
        One row a (step, task), sorted, with the columns of `SCORES_SCHEMA`: `step` 0 is the base; `task` is
        folded, `overall` being the overall score; `score` is a fraction in [0, 1]; `stderr` (a fraction) and
        `n` are null where the file does not give them. Missing scores have no row. Without `scores:` in the
        manifest the frame is empty.

    Raises:
        ScoresError: the file has no known shape, a row is wrong (it is named), or no trained task was scored.
    """
    if manifest.scores is None:
        return pl.DataFrame(schema=SCORES_SCHEMA)
    scores = read_raw_scores(manifest.scores, manifest)
    if not scores:
        raise ScoresError("every score is empty", where=manifest.scores, run=manifest.run)
    for score in scores:
        _check_score(score, manifest)
    _check_unique(scores, manifest)
    _check_some_trained(scores, manifest)
    return _frame(scores, scale=_SCALE[manifest.score_scale])


def _check_score(score: RawScore, manifest: Manifest) -> None:
    last, top = len(manifest.steps), _SCALE[manifest.score_scale]
    if not 0 <= score.step <= last:
        what = f"step {score.step} is not a step of the run"
        raise ScoresError(what, where=score.where, run=manifest.run, fix=f"steps go from 0 (the base) to {last}")
    if not 0 <= score.score <= top:
        what = f"score {score.score:g} of task {score.task} is outside 0..{top:g}"
        percent = manifest.score_scale == "fraction" and 1 < score.score <= 100
        fix = "if the scores are percentages, say `score_scale: percent` in run.yaml" if percent else "mend the score"
        raise ScoresError(what, where=score.where, run=manifest.run, fix=fix)
    if score.stderr is not None and not 0 <= score.stderr <= top:
        what = f"stderr {score.stderr:g} of task {score.task} is outside 0..{top:g}"
        raise ScoresError(what, where=score.where, run=manifest.run, fix="give it in the scale of the scores")
    if score.n is not None and not (1 <= score.n < 2**63 and score.n == int(score.n)):
        what = f"n {score.n:g} of task {score.task} is not a number of examples"
        raise ScoresError(what, where=score.where, run=manifest.run, fix="give a whole number from 1")


def _check_unique(scores: Sequence[RawScore], manifest: Manifest) -> None:
    first: dict[tuple[int, str], str] = {}
    for score in scores:
        key = (score.step, score.task)
        if key in first:
            what = f"step {score.step}, task {score.task} is scored here again, first at {first[key]}"
            raise ScoresError(what, where=score.where, run=manifest.run, fix="keep one score a step and task")
        first[key] = score.where


def _check_some_trained(scores: Sequence[RawScore], manifest: Manifest) -> None:
    scored = sorted({score.task for score in scores})
    if not {OVERALL, *manifest.tasks} & set(scored):
        what = f"none of the trained tasks is scored; scored are {', '.join(scored[:8])}"
        fix = f"name columns or tasks as in run.yaml: {', '.join(manifest.tasks[:8])}"
        raise ScoresError(what, where=manifest.scores, run=manifest.run, fix=fix)


def _frame(scores: Sequence[RawScore], *, scale: float) -> pl.DataFrame:
    rows = [
        (
            score.step,
            score.task,
            score.score / scale,
            None if score.stderr is None else score.stderr / scale,
            None if score.n is None else int(score.n),
        )
        for score in scores
    ]
    return pl.DataFrame(rows, schema=SCORES_SCHEMA, orient="row").sort("step", "task")
