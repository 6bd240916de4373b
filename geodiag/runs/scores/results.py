"""Results of evaluations as scores: the step of a file or model, the metric, and which of several files counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from geodiag.common.text import listed
from geodiag.errors import ScoresError
from geodiag.runs.manifest import OVERALL_TASK, Manifest, fold_task_name
from geodiag.runs.scores.source import RawScore, ResultsFile, SourceScores, TaskResult, choose_metric

FileOfStep = tuple[int, ResultsFile]
"""A file of results and the step that it belongs to, 0 being the base."""


@dataclass(frozen=True)
class StepResult:
    """A task's result at a step."""

    step: int
    """The step, 0 being the base."""
    task: str
    """The folded name under which its score is kept."""
    result: TaskResult
    """Its metrics and the conditions of their measurement."""


def step_results(step: int, results: Sequence[TaskResult], manifest: Manifest) -> Iterator[StepResult]:
    """The results of a step that count.

    Of groups these are only those that are trained themselves or are the overall score: the tasks that a group is a
    mean over are in the same file.
    """
    for result in results:
        task = result.task(manifest.tasks)
        if not result.group or task in (OVERALL_TASK, *manifest.tasks):
            yield StepResult(step, task, result)


def scores_of_results(results: Sequence[StepResult], manifest: Manifest) -> SourceScores:
    """The scores of results and the notes on them; tasks that are not trained and have no clear metric are left out.

    Raises:
        ScoresError: the metric of a trained task, or of the overall score, is not clear.
    """
    scores, unclear = [], set()
    for one in results:
        metric = _metric(one, manifest)
        if metric is None:
            unclear.add(one.task)
        else:
            value, where = one.result.metrics[metric], f"{one.result.where}: {metric}"
            scores.append(RawScore(where, one.step, one.task, value.value, value.stderr, one.result.n))
    notes = [*_difference_notes(results), *_limit_notes(results)]
    if unclear:
        notes.append(f"left out, scored but not trained and without a clear metric: {_first_names(unclear)}")
    return SourceScores(scores, notes)


def scores_of_files(files: Iterable[FileOfStep], manifest: Manifest) -> SourceScores:
    """The scores of files of results, one file or several a step, and the notes on them.

    Of a task that several files have at a step, the newest file's result counts.

    Raises:
        ScoresError: as `scores_of_results`.
    """
    newest_first = sorted(files, key=lambda item: item[1].written, reverse=True)
    where: dict[tuple[int, str], list[str]] = {}
    counting = []
    for step, file in sorted(newest_first, key=lambda item: item[0]):
        for result in step_results(step, file.tasks, manifest):
            places = where.setdefault((step, result.task), [])
            places.append(file.where)
            if places[0] == file.where:
                counting.append(result)
    one_pass = scores_of_results(counting, manifest)
    return SourceScores(one_pass.scores, [*_repeat_notes(where), *one_pass.notes])


def step_of_file(file: ResultsFile, path: Path, folder: Path, manifest: Manifest) -> int:
    """The step that a file of results belongs to, 0 being the base.

    Args:
        file: the results.
        path: where they were read from.
        folder: the folder that the manifest names; the folders from there down to the file name the step, else the
            model that the file names does.
        manifest: the run.

    Raises:
        ScoresError: neither says which step it is of.
    """
    for name in path.relative_to(folder).parts[:-1]:
        step = step_of_name(name, manifest)
        if step is not None:
            return step
    step = _step_of_model(file.models, manifest)
    if step is None:
        fix = "put each step's results into a folder `step_N` (`step_0` or `base` for the base)"
        raise ScoresError("neither its folder nor its model says which step it is of", where=path, fix=fix)
    return step


def _metric(one: StepResult, manifest: Manifest) -> str | None:
    try:
        return choose_metric(one.result, manifest.score_metric)
    except ScoresError as error:
        if one.task in (OVERALL_TASK, *manifest.tasks):
            error.run = manifest.run
            raise
        return None


def _repeat_notes(where: Mapping[tuple[int, str], Sequence[str]]) -> Iterator[str]:
    """A note on results that several files have, with the file that counts."""
    repeated = {key: files for key, files in where.items() if len(set(files)) > 1}
    if repeated:
        (step, task), files = min(repeated.items())
        count = "1 score stands" if len(repeated) == 1 else f"{len(repeated)} scores stand"
        yield f"{count} in several files; the newest counts, as at step {step}, task {task}: {files[0]}"


def _difference_notes(results: Sequence[StepResult]) -> Iterator[str]:
    """Notes on conditions under which scores of different steps do not compare."""
    by_name: dict[str, dict[str, dict[str, int]]] = {}
    for one in sorted(results, key=lambda one: one.step):
        for name, value in one.result.conditions.items():
            by_name.setdefault(name, {}).setdefault(one.task, {}).setdefault(value, one.step)
    for name, tasks in by_name.items():
        differing = {task: values for task, values in tasks.items() if len(values) > 1}
        if differing:
            _, steps = min(differing.items())
            values = ", ".join(f"{value} at step {step}" for value, step in steps.items())
            yield f"{name} differs between steps for {_first_names(differing)}: {values}; scores may not compare"


def _limit_notes(results: Sequence[StepResult]) -> Iterator[str]:
    limits = {limit for one in results if (limit := one.result.limit) is not None}
    if limits:
        yield f"evaluated on a part of the examples only (limit {', '.join(sorted(limits))})"


def _first_names(names: Iterable[str]) -> str:
    """Three names in order, and how many more there are."""
    ordered = sorted(names)
    return listed(ordered, most=3) if len(ordered) > 3 else ", ".join(ordered)


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
    step = _step_of_checkpoint(name, manifest)
    if step is not None:
        return step
    folded = fold_task_name(name)
    if folded in _BASES:
        return 0
    match = _NUMBERED.fullmatch(folded)
    number = int(match[1]) if match else -1
    return number if 0 <= number <= len(manifest.steps) else None


def _step_of_model(models: Iterable[str], manifest: Manifest) -> int | None:
    """The step whose state, or the base, a model's path means: the one that shares most of the path's end."""
    for model in models:
        shared = {step: _shared_end(PurePath(model), path) for step, path in _checkpoints(manifest).items()}
        most = max(shared.values())
        fitting = [step for step, length in shared.items() if length == most]
        if most and len(fitting) == 1:
            return fitting[0]
    return None


def _step_of_checkpoint(name: str, manifest: Manifest) -> int | None:
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
