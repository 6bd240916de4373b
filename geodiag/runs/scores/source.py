"""Scores before they are checked: tables of scores, results of evaluations, and the readers of both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geodiag.errors import ScoresError
from geodiag.runs.manifest import OVERALL_NAMES, OVERALL_TASK, Manifest, fold_task_name


@dataclass(frozen=True)
class ScoreRow:
    """One row of a score file."""

    where: str
    """`file:line`, or `file, row n` where a file has no lines."""
    cells: tuple[Any, ...]
    """Its values, one a column; None where a cell is empty."""


@dataclass(frozen=True)
class ScoreSource:
    """The file or folder that a manifest's `scores:` names; of a file its table."""

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
    """Its place in the file."""
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


@dataclass(frozen=True)
class SourceScores:
    """The scores of a source and the notes on it, from one pass over its files."""

    scores: Sequence[RawScore]
    """Every score, in the order of the source."""
    notes: Sequence[str] = ()
    """What a person should know of the source, one sentence each."""


@dataclass(frozen=True)
class TableReader:
    """The reader of a format in which one table holds the scores of every step."""

    name: str
    """The format's name."""
    shape: str
    """What the table looks like, for the error that lists the formats."""
    accepts: Callable[[ScoreSource], bool]
    """Whether a source has this format; its columns decide."""
    read: Callable[[ScoreSource, Manifest], SourceScores]
    """The scores of a source of this format."""


def scored_task(name: str) -> str:
    """The folded name of a task or column, `overall` for every name of the overall score."""
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
    """The number of examples it was measured on."""
    group: bool = False
    """Whether it is a mean over other tasks of the same file."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """Settings that have to agree at every step for scores to compare: `version`, `n-shot`, `limit`, `task hash`."""
    lower_is_better: frozenset[str] = frozenset()
    """The metrics of which a lower value is better."""

    @property
    def limit(self) -> str | None:
        """The number or share of examples it was measured on; None for all of them."""
        limit = self.conditions.get("limit")
        return None if limit == NO_LIMIT else limit

    def task(self, trained: Collection[str]) -> str:
        """The folded name under which its score is kept: its first name that is trained or means the overall score."""
        folded = [scored_task(name) for name in self.names]
        return next((name for name in folded if name in trained or name == OVERALL_TASK), folded[0])


@dataclass(frozen=True)
class ResultsFile:
    """One file of results, of one model."""

    where: str
    """The file."""
    written: tuple[float, str]
    """(time of writing, file name): the newest file has the largest; names, which hold a time, decide between equal
    times."""
    models: tuple[str, ...]
    """Paths of the model that it scored, the most specific first; none where the file does not say."""
    tasks: tuple[TaskResult, ...]
    """The tasks that it scored."""


@dataclass(frozen=True)
class ResultsReader:
    """The reader of a format in which one file holds the results of one model; a folder holds the files of all."""

    name: str
    """The harness that writes it."""
    pattern: str
    """The names of its files, as a glob. `recognised` decides between formats that share a pattern."""
    files: str
    """What its files are called, for the error that lists the formats."""
    read: Callable[[Any, Path], ResultsFile]
    """The results of a file: of its JSON object or, where it is a table, of its `ScoreSource`."""
    recognised: Callable[[Any], bool] = lambda _contents: True
    """Whether the contents of a file whose name fits are of this format."""

    def accepts(self, source: ScoreSource) -> bool:
        """Whether a source is a folder with such files in it, at any depth."""
        return source.path.is_dir() and any(True for _ in source.path.rglob(self.pattern))


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
    metrics = _matching(result, asked)
    if len(metrics) != 1:
        problem = (
            f"it has {len(metrics) or 'no'} metrics that `score_metric: {asked}` means" if asked else _many(result)
        )
        fix = f"say `score_metric: ...` in run.yaml with one of: {' | '.join(result.metrics) or 'none'}"
        raise ScoresError(problem, where=result.where, fix=fix + ("" if asked else " (several, with | between)"))
    if metrics[0] in result.lower_is_better:
        problem = f"a lower {metrics[0]} is better, so it is no score"
        raise ScoresError(problem, where=result.where, fix="name another in `score_metric`")
    return metrics[0]


def _many(result: TaskResult) -> str:
    return f"it has {len(result.metrics)} metrics" if result.metrics else "it has no metric"


def _matching(result: TaskResult, asked: str | None) -> Sequence[str]:
    if asked is None:
        return list(result.metrics)
    for wanted in (",".join(map(str.strip, one.split(","))) for one in asked.split("|")):
        metrics = [name for name in result.metrics if wanted in (name, name.partition(",")[0])]
        if metrics:
            return metrics
    return []
