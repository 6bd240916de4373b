"""The parts that score readers share: rows with their places, cells as numbers, names as tasks."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from geodiag.errors import ScoresError
from geodiag.runs.names import OVERALL, OVERALL_NAMES, fold_task_name


@dataclass(frozen=True)
class Row:
    """One row of a score file."""

    where: str
    """`file:line`, or `file, row n` where a file has no lines."""
    cells: tuple[Any, ...]
    """Its values, one a column; None where a cell is empty."""


@dataclass(frozen=True)
class ScoreSource:
    """What a manifest's `scores:` points to, opened far enough to see its shape."""

    path: Path
    """The file or folder."""
    columns: tuple[str, ...] = ()
    """The column names as written, when it is one table; none for a folder."""
    rows: tuple[Row, ...] = ()
    """The rows in the file's order, without blank ones; none for a folder."""

    @property
    def folded(self) -> tuple[str, ...]:
        """The folded column names."""
        return tuple(map(fold_task_name, self.columns))


@dataclass(frozen=True)
class RawScore:
    """One score as its file gives it."""

    where: str
    """The place in the file."""
    step: int
    """The step after which it was measured; 0 is the base."""
    task: str
    """The task's folded name."""
    score: float
    """The score, in the scale that the manifest names."""
    stderr: float | None = None
    """Its standard error, in the same scale."""
    n: float | None = None
    """How many examples it is a mean over."""


def number(cell: Any, name: str, *, where: str) -> float | None:
    """A cell as a number; None when it is empty.

    Args:
        cell: what the file holds.
        name: what the number is ("score of task math"), for the error.
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
        what = f"{name} is {str(cell)[:40]!r}, not a number"
        raise ScoresError(what, where=where, fix="leave the cell empty when there is no score")
    return value


def step_number(cell: Any, *, where: str) -> int:
    """A cell as the number of a step; `ScoresError` when it is empty or not whole."""
    value = number(cell, "step", where=where)
    if value is None or value != int(value):
        what = "the step is empty" if value is None else f"step is {value:g}, not a whole number"
        raise ScoresError(what, where=where, fix="number the steps from 1; 0 is the base")
    return int(value)


def score_task(name: str) -> str:
    """A task's or column's folded name, with every name of the overall score as `overall`."""
    folded = fold_task_name(name)
    return OVERALL if folded in OVERALL_NAMES else folded
