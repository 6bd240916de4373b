"""Scores before checking: rows with their places, and results of evaluation harnesses."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from geodiag.errors import ScoresError
from geodiag.runs.manifest import OVERALL_NAMES, OVERALL_TASK, fold_task_name


@dataclass(frozen=True)
class ScoreRow:
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
    rows: tuple[ScoreRow, ...] = ()
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


def parse_number(cell: Any, name: str, *, where: str) -> float | None:
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
    value = parse_number(cell, "step", where=where)
    if value is None or value != int(value):
        what = "the step is empty" if value is None else f"step is {value:g}, not a whole number"
        raise ScoresError(what, where=where, fix="number the steps from 1; 0 is the base")
    return int(value)


def score_task(name: str) -> str:
    """A task's or column's folded name, with every name of the overall score as `overall`."""
    folded = fold_task_name(name)
    return OVERALL_TASK if folded in OVERALL_NAMES else folded


NO_LIMIT = "none"
"""The condition `limit` of a task that was measured on all its examples."""


@dataclass(frozen=True)
class Metric:
    """One number that a harness reports of a task."""

    value: float
    """The number, in the scale of the file."""
    stderr: float | None = None
    """Its standard error; None where the file gives none."""


@dataclass(frozen=True)
class TaskResult:
    """One task in one file of results."""

    where: str
    """The file, and the task's name in it."""
    names: tuple[str, ...]
    """The names it goes by, as written, the harness's own first."""
    metrics: Mapping[str, Metric]
    """By name, with the filter behind a comma where the harness has filters: `exact_match,strict-match`."""
    n: int | None = None
    """How many examples it was measured on."""
    group: bool = False
    """Whether it is a mean over other tasks of the same file."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """What has to be the same at every step for scores to compare: `version`, `n-shot`, `limit`, `task hash`."""
    lower_is_better: frozenset[str] = frozenset()
    """The metrics of which a lower value is better."""

    @property
    def limit(self) -> str | None:
        """How many examples, or what share of them, it was measured on, where it was a part of them only."""
        limit = self.conditions.get("limit")
        return None if limit == NO_LIMIT else limit

    def task(self, trained: Collection[str]) -> str:
        """The folded name that it counts as: the first of its names that is trained or the overall score's."""
        folded = [fold_task_name(name) for name in self.names]
        known = next((name for name in folded if name in trained or name in OVERALL_NAMES), folded[0])
        return OVERALL_TASK if known in OVERALL_NAMES else known


@dataclass(frozen=True)
class ResultsFile:
    """One file of results, of one model."""

    where: str
    """The file."""
    written: tuple[float, str]
    """When it was written, for finding the newest; names with times in them decide between equal times."""
    models: tuple[str, ...]
    """Paths of the model that it scored, the most telling first; none where the file does not say."""
    tasks: tuple[TaskResult, ...]
    """What it scored."""


def choose_metric(result: TaskResult, asked: str | None) -> str:
    """The metric of a task that a manifest means.

    Args:
        result: the task.
        asked: `score_metric` of the manifest: a metric by its name, or by name and filter; several separated by
            `|` are tried in turn, for tasks that are scored in different ways. None will do where a task has one.

    Returns:
        Its name in `result.metrics`.

    Raises:
        ScoresError: there is no such metric, or more than one; or a lower value of it is better.
    """
    found = _matching(result, asked)
    if len(found) != 1:
        what = f"it has {len(found) or 'no'} metrics that `score_metric: {asked}` means" if asked else _many(result)
        fix = f"say `score_metric: ...` in run.yaml with one of: {' | '.join(result.metrics) or 'none'}"
        raise ScoresError(what, where=result.where, fix=fix + ("" if asked else " (several, with | between)"))
    if found[0] in result.lower_is_better:
        what = f"a lower {found[0]} is better, so it is no score"
        raise ScoresError(what, where=result.where, fix="name another in `score_metric`")
    return found[0]


def _many(result: TaskResult) -> str:
    return f"it has {len(result.metrics)} metrics" if result.metrics else "it has no metric"


def _matching(result: TaskResult, asked: str | None) -> Sequence[str]:
    if asked is None:
        return list(result.metrics)
    for wanted in (",".join(map(str.strip, one.split(","))) for one in asked.split("|")):
        found = [name for name in result.metrics if wanted in (name, name.partition(",")[0])]
        if found:
            return found
    return []
