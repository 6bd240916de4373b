"""Tables of scores: CSV, TSV and Parquet, long (one row a score) or wide (one column a task)."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from geodiag.errors import ScoresError
from geodiag.runs.manifest import OVERALL_NAMES, Manifest
from geodiag.runs.scores.source import RawScore, ScoreRow, ScoreSource, SourceScores, TableReader, scored_task


def read_table(path: Path) -> ScoreSource:
    """Read a CSV, TSV or Parquet file as text and numbers in named columns.

    Args:
        path: the file; its ending gives its format, one of `TABLE_FORMATS`.

    Raises:
        ScoresError: the file cannot be read, rows differ in length, or two columns share a name.
    """
    table = TABLE_FORMATS[path.suffix.lower()](path)
    if len(set(table.columns)) < len(table.columns):
        repeated = min(name for name in table.columns if table.columns.count(name) > 1)
        problem = f"two columns are named {repeated!r}"
        raise ScoresError(problem, where=path, fix="give each column its own name")
    if not table.rows:
        raise ScoresError("holds no scores", where=path, fix="add one row a score, or one row a step")
    return table


def _read_separated(path: Path) -> ScoreSource:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            lines = csv.reader(file, delimiter=max(",;\t", key=header.count), strict=True)
            rows = []
            for line in lines:
                cells = tuple(cell.strip() or None for cell in line)
                if any(cells):
                    rows.append(ScoreRow(f"{path}:{lines.line_num}", cells))
    except UnicodeDecodeError as error:
        raise ScoresError(f"not UTF-8 text at byte {error.start}", where=path, fix="save it as UTF-8") from error
    except OSError as error:
        raise ScoresError(f"cannot be read ({error.strerror})", where=path) from error
    except csv.Error as error:
        raise ScoresError(f"not a CSV file ({error})", where=path) from error
    if not rows:
        raise ScoresError("the file is empty", where=path)
    return _without_index(path, rows[0].cells, rows[1:])


def _without_index(path: Path, columns: tuple[str | None, ...], rows: list[ScoreRow]) -> ScoreSource:
    """Drop the nameless first column that pandas writes for its index; refuse ragged rows and nameless columns."""
    for row in rows:
        if len(row.cells) != len(columns):
            problem = f"{len(row.cells)} cells where the header has {len(columns)}"
            raise ScoresError(problem, where=row.where, fix="give each row one cell a column")
    start = 1 if columns[0] is None else 0
    if None in columns[start:]:
        problem = f"column {columns.index(None, start) + 1} has no name"
        raise ScoresError(problem, where=path, fix="name it in the first row, or drop it")
    if start:
        rows = [ScoreRow(row.where, row.cells[1:]) for row in rows]
    return ScoreSource(path, tuple(map(str, columns[start:])), tuple(rows))


def _read_parquet(path: Path) -> ScoreSource:
    # pyarrow rather than polars, which panics on a damaged file and prints its stack before it raises.
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            table = file.read(use_threads=False)
        cells = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:160]
        raise ScoresError(f"not a readable Parquet file ({reason})", where=path) from error
    rows = (ScoreRow(f"{path}, row {number}", row) for number, row in enumerate(cells, start=1))
    return ScoreSource(path, tuple(table.column_names), tuple(row for row in rows if _filled(row)))


def _filled(row: ScoreRow) -> bool:
    return any(cell is not None for cell in row.cells)


TABLE_FORMATS: Mapping[str, Callable[[Path], ScoreSource]] = {
    ".csv": _read_separated,
    ".tsv": _read_separated,
    ".parquet": _read_parquet,
}
"""The reader of a table, by the ending of its file."""


def parse_number(cell: Any, name: str, *, where: str) -> float | None:
    """A cell as a number; None when it is empty.

    Args:
        cell: the cell's value.
        name: the number's name ("score of task math"), for the error.
        where: the place of the row.

    Raises:
        ScoresError: the cell is no number, or not a finite one.
    """
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    value = math.nan
    if isinstance(cell, str | int | float | Decimal) and not isinstance(cell, bool) and "_" not in str(cell):
        with suppress(ValueError, OverflowError):
            value = float(cell)
    if not math.isfinite(value):
        problem = f"{name} is {str(cell)[:40]!r}, not a number"
        raise ScoresError(problem, where=where, fix="leave the cell empty when there is no score")
    return value


def _step_number(cell: Any, *, where: str) -> int:
    """A cell as the number of a step; `ScoresError` when it is empty or not whole."""
    value = parse_number(cell, "step", where=where)
    if value is None or value != int(value):
        problem = "the step is empty" if value is None else f"step is {value:g}, not a whole number"
        raise ScoresError(problem, where=where, fix="number the steps from 1; 0 is the base")
    return int(value)


_COLUMNS = ("step", "task", "score", "stderr", "n")


def _is_long(source: ScoreSource) -> bool:
    return {"task", "score"} <= set(source.folded)


def _read_long(source: ScoreSource, _manifest: Manifest) -> SourceScores:
    """The scores of a long table; rows without a score are left out.

    Raises:
        ScoresError: a column is unknown or missing, or a row is wrong.
    """
    columns, scores = source.folded, []
    _check_columns(source, columns)
    for row in source.rows:
        score = _score(row.where, dict(zip(columns, row.cells, strict=True)))
        if score is not None:
            scores.append(score)
    return SourceScores(scores)


LONG = TableReader("long", "CSV or Parquet with the columns step, task, score", _is_long, _read_long)
"""One row a score."""


def _check_columns(source: ScoreSource, columns: Sequence[str]) -> None:
    for name in columns:
        if name not in _COLUMNS:
            near = get_close_matches(name, _COLUMNS, n=1)
            fix = f"did you mean {near[0]!r}?" if near else f"drop it; known columns: {', '.join(_COLUMNS)}"
            raise ScoresError(f"unknown column {name!r} beside task and score", where=source.path, fix=fix)
        if columns.count(name) > 1:
            raise ScoresError(f"two columns mean {name!r}", where=source.path, fix="keep one of them")
    if "step" not in columns:
        raise ScoresError("no column 'step'", where=source.path, fix="number the steps from 1; 0 is the base")


def _score(where: str, cells: Mapping[str, Any]) -> RawScore | None:
    """The score in a row, its cells being given by column; None where the cell of the score is empty."""
    if cells["task"] is None:
        raise ScoresError("the task is empty", where=where, fix="name the task that was scored")
    task = scored_task(str(cells["task"]))
    step = _step_number(cells["step"], where=where)
    score = parse_number(cells["score"], f"score of task {task}", where=where)
    stderr = parse_number(cells.get("stderr"), f"stderr of task {task}", where=where)
    n = parse_number(cells.get("n"), f"n of task {task}", where=where)
    return None if score is None else RawScore(where, step, task, score, stderr, n)


_NOT_TASKS = ("model", "step")


def _is_wide(source: ScoreSource) -> bool:
    columns = set(source.folded)
    return bool({*_NOT_TASKS, *OVERALL_NAMES} & columns) and not {"task", "score"} & columns


def _read_wide(source: ScoreSource, manifest: Manifest) -> SourceScores:
    """The scores of a wide table; empty cells are left out.

    The rows are the steps in order, after the base where there is one row more than steps; a column
    `step` says otherwise.

    Raises:
        ScoresError: two columns are one task, the rows do not fit the steps, or a cell is wrong.
    """
    names = [scored_task(name) for name in source.columns]
    for column, name in enumerate(names):
        if name in names[:column]:
            first, second = source.columns[names.index(name)], source.columns[column]
            problem = f"columns {first!r} and {second!r} are both {name!r}"
            raise ScoresError(problem, where=source.path, fix="keep one of them")
    steps = _steps(source, names, n_steps=len(manifest.steps))
    rows = zip(source.rows, steps, strict=True)
    return SourceScores([score for row, step in rows for score in _scores(row, step, names)])


def _scores(row: ScoreRow, step: int, names: Sequence[str]) -> Iterator[RawScore]:
    for name, cell in zip(names, row.cells, strict=True):
        if name not in _NOT_TASKS:
            score = parse_number(cell, f"score of task {name}", where=row.where)
            if score is not None:
                yield RawScore(row.where, step, name, score)


def _steps(source: ScoreSource, names: list[str], *, n_steps: int) -> Sequence[int]:
    if "step" in names:
        return [_step_number(row.cells[names.index("step")], where=row.where) for row in source.rows]
    n_rows = len(source.rows)
    if n_rows not in (n_steps, n_steps + 1):
        problem = f"{n_rows} rows for a run of {n_steps} steps"
        fix = f"give {n_steps + 1} rows (the base first) or {n_steps} (no base), or add a column `step`"
        raise ScoresError(problem, where=source.path, fix=fix)
    return range(n_steps + 1 - n_rows, n_steps + 1)


WIDE = TableReader("wide", "CSV with one row a step, a column `model` and one column a task", _is_wide, _read_wide)
"""One row a step."""
