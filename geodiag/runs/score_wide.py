"""Scores with one row a step and one column a task, as leaderboards and spreadsheets have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from geodiag.errors import ScoresError
from geodiag.runs.manifest import Manifest
from geodiag.runs.names import OVERALL_NAMES
from geodiag.runs.score_source import RawScore, Row, ScoreSource, number, score_task, step_number

_LABELS = ("model", "step")


def is_wide(source: ScoreSource) -> bool:
    """Whether a source has this shape."""
    columns = set(source.folded)
    return bool({*_LABELS, *OVERALL_NAMES} & columns) and not {"task", "score"} & columns


def read_wide(source: ScoreSource, manifest: Manifest) -> list[RawScore]:
    """The scores of a wide table; empty cells are left out.

    The rows are the steps in order, after the base where there is one row more than steps; a column
    `step` says otherwise.

    Raises:
        ScoresError: two columns are one task, the rows do not fit the steps, or a cell is wrong.
    """
    names = [score_task(name) for name in source.columns]
    for column, name in enumerate(names):
        if name in names[:column]:
            first, second = source.columns[names.index(name)], source.columns[column]
            what = f"columns {first!r} and {second!r} are both {name!r}"
            raise ScoresError(what, where=source.path, fix="keep one of them")
    steps = _steps(source, names, n_steps=len(manifest.steps))
    return [score for row, step in zip(source.rows, steps, strict=True) for score in _scores(row, step, names)]


def _scores(row: Row, step: int, names: Sequence[str]) -> Iterator[RawScore]:
    for name, cell in zip(names, row.cells, strict=True):
        if name not in _LABELS:
            score = number(cell, f"score of task {name}", where=row.where)
            if score is not None:
                yield RawScore(row.where, step, name, score)


def _steps(source: ScoreSource, names: list[str], *, n_steps: int) -> Sequence[int]:
    if "step" in names:
        return [step_number(row.cells[names.index("step")], where=row.where) for row in source.rows]
    n_rows = len(source.rows)
    if n_rows not in (n_steps, n_steps + 1):
        what = f"{n_rows} rows for a run of {n_steps} steps"
        fix = f"give {n_steps + 1} rows (the base first) or {n_steps} (no base), or add a column `step`"
        raise ScoresError(what, where=source.path, fix=fix)
    return range(n_steps + 1 - n_rows, n_steps + 1)
