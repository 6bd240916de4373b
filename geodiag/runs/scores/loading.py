"""Scores of a run (step, task, fraction) from any supported source; `READERS` lists the formats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from geodiag.common.files import read_json_object
from geodiag.errors import ScoresError
from geodiag.runs.manifest import Manifest
from geodiag.runs.scores.checks import SCORE_SCALES, check_scores, notes_on_scores
from geodiag.runs.scores.lm_eval import LIGHTEVAL, LM_EVAL
from geodiag.runs.scores.opencompass import SUMMARY_OF_MODEL, SUMMARY_OF_STEPS
from geodiag.runs.scores.results import FileOfStep, scores_of_files, step_of_file
from geodiag.runs.scores.source import ResultsReader, ScoreSource, SourceScores, TableReader
from geodiag.runs.scores.tables import LONG, TABLE_FORMATS, WIDE, read_table

READERS: tuple[TableReader | ResultsReader, ...] = (
    LONG,
    WIDE,
    SUMMARY_OF_STEPS,
    LM_EVAL,
    LIGHTEVAL,
    SUMMARY_OF_MODEL,
)
"""Every format, one entry each: tables that hold all steps, and files of results that a folder holds one a model.

No two readers take the same table or the same file of results. A new format is a file beside these with its reader,
and that reader in this list.
"""

SCORES_SCHEMA = {"step": pl.Int32, "task": pl.Utf8, "score": pl.Float64, "stderr": pl.Float64, "n": pl.Int64}
"""The columns of every frame of scores."""


@dataclass(frozen=True)
class RunScores:
    """The scores of a run and the notes on them, from one pass over their source."""

    frame: pl.DataFrame
    """One row a (step, task), as `load_scores` returns it."""
    notes: tuple[str, ...]
    """What a person should know of the scores, one sentence each, as `score_notes` returns them."""


def read_scores(manifest: Manifest) -> RunScores:
    """Read and check the scores that a manifest names; every file is opened once.

    Args:
        manifest: the run.

    Raises:
        ScoresError: the file has no known shape, a row is wrong (it is named), or no trained task was scored.
    """
    if manifest.scores is None:
        frame = pl.DataFrame(schema=SCORES_SCHEMA)
        return RunScores(frame, _notes(manifest, frame, ()))
    source = _read_source(manifest.scores, manifest)
    check_scores(source.scores, manifest)
    scale, rows = SCORE_SCALES[manifest.score_scale], []
    for score in source.scores:
        stderr = None if score.stderr is None else score.stderr / scale
        n = None if score.n is None else int(score.n)
        rows.append((score.step, score.task, score.score / scale, stderr, n))
    frame = pl.DataFrame(rows, schema=SCORES_SCHEMA, orient="row").sort("step", "task")
    return RunScores(frame, _notes(manifest, frame, source.notes))


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
    return read_scores(manifest).frame


def score_notes(manifest: Manifest, scores: pl.DataFrame) -> list[str]:
    """What a person should know about a run's scores, one sentence each.

    The source is read again for the notes on its files; `read_scores` gives scores and notes from one pass.

    Args:
        manifest: the run.
        scores: its scores, from `load_scores`.

    Returns:
        Sentences on tasks scored and not trained, tasks trained and never scored, missing scores, an
        unscored base, percentages that look like fractions, and on files of results that repeat each other or were
        made under different conditions. Empty when there is nothing to say.
    """
    if scores.is_empty() or manifest.scores is None:
        return list(_notes(manifest, scores, ()))
    return list(_notes(manifest, scores, _read_source(manifest.scores, manifest).notes))


def holds_results(folder: Path) -> bool:
    """Whether a folder holds files of evaluation results, at any depth."""
    return any(isinstance(reader, ResultsReader) and reader.accepts(ScoreSource(folder)) for reader in READERS)


def _notes(manifest: Manifest, scores: pl.DataFrame, source_notes: Sequence[str]) -> tuple[str, ...]:
    if scores.is_empty():
        return (f"run {manifest.run} has no scores: geometry only, no outcomes",)
    return tuple(f"run {manifest.run}: {text}" for text in (*notes_on_scores(manifest, scores), *source_notes))


def _read_source(path: Path, manifest: Manifest) -> SourceScores:
    """The scores of a file or folder of any format, and the notes on it, from one pass."""
    if not path.is_dir() and path.suffix.lower() not in TABLE_FORMATS:
        problem = f"the ending {path.suffix!r} is not that of a score file ({', '.join(TABLE_FORMATS)})"
        raise ScoresError(problem, where=path, fix=_supported())
    source = ScoreSource(path) if path.is_dir() else read_table(path)
    for reader in READERS:
        if reader.accepts(source):
            if isinstance(reader, TableReader):
                return reader.read(source, manifest)
            return scores_of_files(_files_of_steps(path, manifest), manifest)
    shape = "a folder" if path.is_dir() else f"columns {', '.join(source.columns)[:120]}"
    raise ScoresError(f"{shape}: not a known shape of scores", where=path, fix=_supported())


def _files_of_steps(folder: Path, manifest: Manifest) -> Iterator[FileOfStep]:
    for pattern, readers in _results_readers():
        for path in sorted(folder.rglob(pattern)):
            contents = read_json_object(path, error=ScoresError) if path.suffix == ".json" else read_table(path)
            results = _reader_of(contents, path, readers).read(contents, path)
            yield step_of_file(results, path, folder, manifest), results


def _reader_of(contents: Any, path: Path, readers: Sequence[ResultsReader]) -> ResultsReader:
    for reader in readers:
        if reader.recognised(contents):
            return reader
    names = " or ".join(sorted(reader.name for reader in readers))
    raise ScoresError("its keys are not those of a results file", where=path, fix=f"give one of {names}")


def _results_readers() -> list[tuple[str, list[ResultsReader]]]:
    """The formats of results by the names of their files, so that each file is read once."""
    by_pattern: dict[str, list[ResultsReader]] = {}
    for reader in READERS:
        if isinstance(reader, ResultsReader):
            by_pattern.setdefault(reader.pattern, []).append(reader)
    return list(by_pattern.items())


def _supported() -> str:
    tables = [f"{reader.name}: {reader.shape}" for reader in READERS if isinstance(reader, TableReader)]
    folders = [f"{' or '.join(one.name for one in same)} {same[0].files}" for _, same in _results_readers()]
    return "supported are " + "; ".join(
        [*tables, f"results: folder of {', or of '.join(folders)}, with a subfolder a step"]
    )
