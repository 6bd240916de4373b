"""The scores of a run (step, task, fraction) from any supported source; `READERS` lists them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from geodiag.errors import ScoresError
from geodiag.runs.manifest import OVERALL_TASK, Manifest
from geodiag.runs.scores.opencompass import is_summary, read_summary_of_steps, summary_notes
from geodiag.runs.scores.result_folders import folder_notes, is_folder, read_folder
from geodiag.runs.scores.source import RawScore, ScoreSource
from geodiag.runs.scores.tables import TABLE_FORMATS, is_long, is_wide, read_long, read_table, read_wide


@dataclass(frozen=True)
class ScoreReader:
    """How scores of one shape are recognised and read."""

    name: str
    """What the shape is called."""
    shape: str
    """What it looks like, for the error that lists the shapes."""
    accepts: Callable[[ScoreSource], bool]
    """Whether a source has this shape."""
    read: Callable[[ScoreSource, Manifest], list[RawScore]]
    """The scores of a source of this shape."""
    notes: Callable[[ScoreSource, Manifest], list[str]] = lambda _source, _manifest: []
    """What a person should know of such a source."""


READERS: tuple[ScoreReader, ...] = (
    ScoreReader("long", "CSV or Parquet with the columns step, task, score", is_long, read_long),
    ScoreReader("wide", "CSV with one row a step, a column `model` and one column a task", is_wide, read_wide),
    ScoreReader(
        "summary",
        "OpenCompass CSV with dataset, version, metric, mode and one model a step",
        is_summary,
        read_summary_of_steps,
        summary_notes,
    ),
    ScoreReader(
        "results",
        "folder of lm-evaluation-harness or lighteval results_*.json, or of OpenCompass summaries, with a "
        "subfolder a step",
        is_folder,
        read_folder,
        folder_notes,
    ),
)
"""Every shape, in the order in which they are tried."""


def read_raw_scores(path: Path, manifest: Manifest) -> list[RawScore]:
    """The scores of any known shape, as they stand in their source.

    Args:
        path: what `scores:` points to.
        manifest: the run that was scored.

    Raises:
        ScoresError: no reader knows the shape, or a row is wrong.
    """
    source = _opened(path)
    return _reader(source).read(source, manifest)


def source_notes(path: Path, manifest: Manifest) -> list[str]:
    """What a person should know of a source of scores that can be read, one sentence each.

    Args:
        path: what `scores:` points to.
        manifest: the run that was scored.
    """
    source = _opened(path)
    return _reader(source).notes(source, manifest)


def _reader(source: ScoreSource) -> ScoreReader:
    for reader in READERS:
        if reader.accepts(source):
            return reader
    what = "a folder" if source.path.is_dir() else f"columns {', '.join(source.columns)[:120]}"
    raise ScoresError(f"{what}: not a known shape of scores", where=source.path, fix=_supported())


def _opened(path: Path) -> ScoreSource:
    if path.is_dir():
        return ScoreSource(path)
    if path.suffix.lower() not in TABLE_FORMATS:
        what = f"the ending {path.suffix!r} is not that of a score file ({', '.join(TABLE_FORMATS)})"
        raise ScoresError(what, where=path, fix=_supported())
    return read_table(path)


def _supported() -> str:
    return "supported are " + "; ".join(f"{reader.name}: {reader.shape}" for reader in READERS)


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
    if not {OVERALL_TASK, *manifest.tasks} & set(scored):
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
