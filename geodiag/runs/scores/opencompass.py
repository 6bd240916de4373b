"""OpenCompass summaries: one row a dataset and metric, one column a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geodiag.errors import ScoresError
from geodiag.runs.manifest import Manifest
from geodiag.runs.scores.results import scores_of_results, step_of_name, step_results
from geodiag.runs.scores.source import (
    Metric,
    ResultsFile,
    ResultsReader,
    ScoreRow,
    ScoreSource,
    SourceScores,
    TableReader,
    TaskResult,
)
from geodiag.runs.scores.tables import parse_number

_KEYS = ("dataset", "version", "metric", "mode")


def _is_summary(source: ScoreSource) -> bool:
    return source.folded[: len(_KEYS)] == _KEYS


def _read_model(source: ScoreSource, path: Path) -> ResultsFile:
    """A summary of one model.

    Raises:
        ScoresError: the file is no summary, or has several models.
    """
    if not _is_summary(source):
        raise ScoresError("not an OpenCompass summary", where=path, fix=f"its columns start with {', '.join(_KEYS)}")
    models = source.columns[len(_KEYS) :]
    if len(models) != 1:
        problem = f"{len(models)} models in one step's summary"
        raise ScoresError(problem, where=path, fix="name this file itself in `scores:`, its models being the steps")
    return ResultsFile(str(path), (0.0, path.name), models, tuple(_tasks(source, models[0])))


def _read_steps(source: ScoreSource, manifest: Manifest) -> SourceScores:
    """The scores of a summary with one model a step.

    A model belongs to the step that its name says; where no name says any, the models are the steps in order, after
    the base where there is one more.

    Raises:
        ScoresError: the models do not fit the steps, a cell is no number, or a dataset's metric is not clear.
    """
    models = source.columns[len(_KEYS) :]
    results = [
        result
        for model, step in zip(models, _steps(models, source.path, manifest), strict=True)
        for result in step_results(step, _tasks(source, model), manifest)
    ]
    return scores_of_results(results, manifest)


def _steps(models: Sequence[str], path: Path, manifest: Manifest) -> list[int]:
    named = [step_of_name(model, manifest) for model in models]
    steps = [step for step in named if step is not None]
    if len(steps) == len(models) and len(set(steps)) == len(steps):
        return steps
    if steps or len(models) not in (len(manifest.steps), len(manifest.steps) + 1):
        problem = f"models {', '.join(models)[:120]} for a run of {len(manifest.steps)} steps"
        fix = "name them as the states' folders or `step_N`, or give one a step in order, the base first"
        raise ScoresError(problem, where=path, fix=fix)
    return list(range(len(manifest.steps) + 1 - len(models), len(manifest.steps) + 1))


def _tasks(source: ScoreSource, model: str) -> list[TaskResult]:
    at = source.columns.index(model)
    rows: dict[str, list[tuple[ScoreRow, Metric]]] = {}
    for row in source.rows:
        value = row.cells[at]
        if value not in (None, "-"):  # also the headings between rows, which have a - in every cell
            dataset = str(row.cells[0])
            score = parse_number(value, f"score of {dataset}, model {model}", where=row.where)
            assert score is not None  # empty cells were left out above
            rows.setdefault(dataset, []).append((row, Metric(score)))
    return [_task(dataset, model, cells) for dataset, cells in rows.items()]


def _task(dataset: str, model: str, cells: Sequence[tuple[ScoreRow, Metric]]) -> TaskResult:
    metrics: dict[str, Metric] = {}
    for row, metric in cells:
        name = str(row.cells[2] or "score")
        if name in metrics:
            problem = f"dataset {dataset} has its metric {name} a second time"
            raise ScoresError(problem, where=row.where, fix="keep one row a dataset and metric")
        metrics[name] = metric
    first = cells[0][0]
    version = str(first.cells[1] or "-")
    return TaskResult(
        where=f"{first.where}: {dataset}, model {model}",
        names=(dataset,),
        metrics=metrics,
        group=version == "-",  # a dataset's version is a digest of its prompts; a mean over datasets has none
        conditions={} if version == "-" else {"version": version},
    )


SUMMARY_OF_STEPS = TableReader(
    "summary",
    "OpenCompass CSV with dataset, version, metric, mode and one model a step",
    _is_summary,
    _read_steps,
)
"""A summary that the manifest names itself, with one column a step."""

SUMMARY_OF_MODEL = ResultsReader("OpenCompass", "summary_*.csv", "summaries", _read_model)
"""Summaries of one model each, in a folder a step."""
