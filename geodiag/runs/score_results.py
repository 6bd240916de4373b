"""What evaluation harnesses report, in one form: for each task its metrics, and under which conditions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from geodiag.errors import ScoresError
from geodiag.runs.names import OVERALL, OVERALL_NAMES, fold_task_name

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
        return OVERALL if known in OVERALL_NAMES else known


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
