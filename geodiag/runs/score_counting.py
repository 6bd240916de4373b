"""Results of whole evaluations as scores: which of them count, which metric is the score, and what to know of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from geodiag.errors import ScoresError
from geodiag.runs.manifest import Manifest
from geodiag.runs.names import OVERALL
from geodiag.runs.score_results import TaskResult, choose_metric
from geodiag.runs.score_source import RawScore


@dataclass(frozen=True)
class StepResult:
    """A task's result at a step."""

    step: int
    """The step, 0 being the base."""
    task: str
    """The folded name that it counts as."""
    result: TaskResult
    """What was measured."""


def step_results(step: int, results: Sequence[TaskResult], manifest: Manifest) -> Iterator[StepResult]:
    """The results of a step that count: of groups only those that are trained themselves or are the overall score,
    since the tasks that a group is a mean over stand beside it."""
    for result in results:
        task = result.task(manifest.tasks)
        if not result.group or task in (OVERALL, *manifest.tasks):
            yield StepResult(step, task, result)


def raw_scores(results: Sequence[StepResult], manifest: Manifest) -> list[RawScore]:
    """The scores; tasks that are not trained and have no clear metric are left out.

    Raises:
        ScoresError: the metric of a trained task, or of the overall score, is not clear.
    """
    scores = []
    for found in results:
        metric = _metric(found, manifest)
        if metric is not None:
            value, where = found.result.metrics[metric], f"{found.result.where}: {metric}"
            scores.append(RawScore(where, found.step, found.task, value.value, value.stderr, found.result.n))
    return scores


def result_notes(results: Sequence[StepResult], manifest: Manifest) -> list[str]:
    """What a person should know of results, one sentence each.

    Raises:
        ScoresError: as `raw_scores`.
    """
    notes = [*_difference_notes(results), *_limit_notes(results)]
    unclear = sorted({found.task for found in results if _metric(found, manifest) is None})
    if unclear:
        notes.append(f"left out, scored but not trained and without a clear metric: {some(unclear)}")
    return notes


def some(names: Sequence[str]) -> str:
    """The first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _metric(found: StepResult, manifest: Manifest) -> str | None:
    try:
        return choose_metric(found.result, manifest.score_metric)
    except ScoresError as error:
        if found.task in (OVERALL, *manifest.tasks):
            error.run = manifest.run
            raise
        return None


def _difference_notes(results: Sequence[StepResult]) -> Iterator[str]:
    """Conditions under which scores of different steps do not compare."""
    by_name: dict[str, dict[str, dict[str, int]]] = {}
    for found in sorted(results, key=lambda found: found.step):
        for name, value in found.result.conditions.items():
            by_name.setdefault(name, {}).setdefault(found.task, {}).setdefault(value, found.step)
    for name, tasks in by_name.items():
        differing = {task: values for task, values in tasks.items() if len(values) > 1}
        if differing:
            _, values = min(differing.items())
            yield f"{name} differs between steps for {some(sorted(differing))}: {_told(values)}; scores may not compare"


def _told(values: Mapping[str, int]) -> str:
    return ", ".join(f"{value} at step {step}" for value, step in values.items())


def _limit_notes(results: Sequence[StepResult]) -> Iterator[str]:
    limits = {limit for found in results if (limit := found.result.limit) is not None}
    if limits:
        yield f"evaluated on a part of the examples only (limit {', '.join(sorted(limits))})"
