"""Scores with one row a score: the columns step, task, score, and perhaps stderr and n."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from geodiag.errors import ScoresError
from geodiag.runs.manifest import Manifest
from geodiag.runs.score_source import RawScore, Row, ScoreSource, number, score_task, step_number

_EXTRA = ("stderr", "n")
_KNOWN = ("step", "task", "score", *_EXTRA)


def is_long(source: ScoreSource) -> bool:
    """Whether a source has this shape."""
    return {"task", "score"} <= set(source.folded)


def read_long(source: ScoreSource, _manifest: Manifest) -> list[RawScore]:
    """The scores of a long table; rows without a score are left out.

    Raises:
        ScoresError: a column is unknown or missing, or a row is wrong.
    """
    _check_columns(source, source.folded)
    at = {name: column for column, name in enumerate(source.folded)}
    return [score for row in source.rows if (score := _score(row, at)) is not None]


def _check_columns(source: ScoreSource, columns: Sequence[str]) -> None:
    for name in columns:
        if name not in _KNOWN:
            near = get_close_matches(name, _KNOWN, n=1)
            fix = f"did you mean {near[0]!r}?" if near else f"drop it; known columns: {', '.join(_KNOWN)}"
            raise ScoresError(f"unknown column {name!r} beside task and score", where=source.path, fix=fix)
        if columns.count(name) > 1:
            raise ScoresError(f"two columns mean {name!r}", where=source.path, fix="keep one of them")
    if "step" not in columns:
        raise ScoresError("no column 'step'", where=source.path, fix="number the steps from 1; 0 is the base")


def _score(row: Row, at: Mapping[str, int]) -> RawScore | None:
    cells = {name: row.cells[column] for name, column in at.items()}
    if cells["task"] is None:
        raise ScoresError("the task is empty", where=row.where, fix="name the task that was scored")
    task = score_task(str(cells["task"]))
    step = step_number(cells["step"], where=row.where)
    score = number(cells["score"], f"score of task {task}", where=row.where)
    stderr, n = (number(cells.get(name), f"{name} of task {task}", where=row.where) for name in _EXTRA)
    return None if score is None else RawScore(row.where, step, task, score, stderr, n)
