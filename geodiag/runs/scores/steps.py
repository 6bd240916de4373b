"""Results of evaluations as scores: the step they belong to, the metric, and which of several count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from geodiag.errors import ScoresError
from geodiag.runs.manifest import OVERALL_TASK, Manifest, fold_task_name
from geodiag.runs.scores.source import RawScore, TaskResult, choose_metric


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
        if not result.group or task in (OVERALL_TASK, *manifest.tasks):
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
        if found.task in (OVERALL_TASK, *manifest.tasks):
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


_NUMBERED = re.compile(r"(?:step|state|after)?_?0*([0-9]{1,6})(?:_.*)?")
_BASES = frozenset({"base", "base_model", "pretrained", "before"})


def step_of_name(name: str, manifest: Manifest) -> int | None:
    """The step that a name means.

    That is, in this order: the name of a state's or the base's folder, or their path as evaluation harnesses write
    it into a folder's name; `base` or `pretrained`; or a number, as in `3`, `step_03` or `step_03_biology`.

    Args:
        name: the name of a folder or column.
        manifest: the run.

    Returns:
        The step, 0 being the base; None when the name says nothing.
    """
    step = _by_checkpoint(name, manifest)
    if step is not None:
        return step
    folded = fold_task_name(name)
    if folded in _BASES:
        return 0
    match = _NUMBERED.fullmatch(folded)
    number = int(match[1]) if match else -1
    return number if 0 <= number <= len(manifest.steps) else None


def step_of_model(models: Iterable[str], manifest: Manifest) -> int | None:
    """The step whose state, or the base, a model's path means: the one that shares most of the path's end.

    Args:
        models: paths as an evaluation was given them, the most telling first.
        manifest: the run.

    Returns:
        The step; None when no checkpoint or several fit.
    """
    for model in models:
        shared = {step: _shared_end(PurePath(model), path) for step, path in _checkpoints(manifest).items()}
        most = max(shared.values())
        fitting = [step for step, length in shared.items() if length == most]
        if most and len(fitting) == 1:
            return fitting[0]
    return None


def _by_checkpoint(name: str, manifest: Manifest) -> int | None:
    """By a checkpoint's folder, or by its path as a harness makes a name of it (`__data__runs__a__step_01`)."""
    fitting = set()
    for step, path in _checkpoints(manifest).items():
        ends = ("__".join(path.parts[k:]) for k in range(1, len(path.parts)))
        if name.lstrip("_") in {re.sub(r'["<>:/|\\?*\[\]]+', "__", end) for end in ends}:
            fitting.add(step)
    return fitting.pop() if len(fitting) == 1 else None


def _checkpoints(manifest: Manifest) -> dict[int, Path]:
    return {0: manifest.base} | {number: step.state for number, step in enumerate(manifest.steps, start=1)}


def _shared_end(a: PurePath, b: PurePath) -> int:
    """How many parts two paths share at their ends."""
    pairs = list(zip(reversed(a.parts), reversed(b.parts), strict=False))
    return next((n for n, (x, y) in enumerate(pairs) if x != y), len(pairs))
