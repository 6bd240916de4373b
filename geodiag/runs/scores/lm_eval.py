"""Results files of lm-evaluation-harness and lighteval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from geodiag.errors import ScoresError
from geodiag.runs.scores.source import NO_LIMIT, Metric, ResultsFile, ResultsReader, TaskResult

MODEL_KEYS = ("peft", "delta", "pretrained", "model", "path", "engine", "model_name")
"""Arguments of an evaluated model that name its path, the most specific first."""
RESULTS_PATTERN = "results*.json"
"""The names of both harnesses' files, as a glob."""
RESULTS_FILES = "results_*.json"
"""The names of both harnesses' files, as an error shows them."""

_NO_METRIC = ("alias", "name", "sample_len", "sample_count", "samples")
_KEYS = ("versions", "configs", "config", "n-shot")


def _lm_eval_recognised(data: Mapping[str, Any]) -> bool:
    return "config_general" not in data and any(key in data for key in _KEYS)


def _lm_eval_read(data: Mapping[str, Any], path: Path) -> ResultsFile:
    date: Any = data.get("date")
    written = float(date) if is_number(date) else 0.0
    return ResultsFile(str(path), (written, path.name), tuple(_lm_eval_models(data)), tuple(_lm_eval_tasks(data, path)))


def _lm_eval_tasks(data: Mapping[str, Any], path: Path) -> Iterator[TaskResult]:
    children, better = object_at(data, "group_subtasks"), object_at(data, "higher_is_better")
    for name, row in results_by_task(data, path).items():
        if isinstance(row, Mapping):
            alias = str(row.get("alias", name)).lstrip(" -")
            yield TaskResult(
                where=f"{path}: task {name}",
                names=(name, alias),
                metrics=metrics_of(row),
                n=first_count(object_at(object_at(data, "n-samples"), name).get("effective"), row.get("sample_len")),
                group=bool(children.get(name)),
                conditions=conditions_of(
                    version=object_at(data, "versions").get(name),
                    n_shot=object_at(data, "n-shot").get(name),
                    limit=object_at(data, "config").get("limit"),
                    task_hash=object_at(data, "task_hashes").get(name),
                ),
                lower_is_better=_lower(metrics_of(row), object_at(better, name)),
            )


def _lm_eval_models(data: Mapping[str, Any]) -> Iterator[str]:
    """Every path among the model's arguments, the one after which the harness names its folders first."""
    arguments = object_at(data, "config").get("model_args")
    if isinstance(arguments, str):
        arguments = dict(part.partition("=")[::2] for part in arguments.split(","))
    if isinstance(arguments, Mapping):
        yield from (str(arguments[key]) for key in MODEL_KEYS if arguments.get(key))


def _lower(metrics: Mapping[str, Metric], better: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name in metrics if better.get(name.partition(",")[0]) is False)


def results_by_task(data: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The object `results` of a file: the metrics of each task by its name.

    Raises:
        ScoresError: there is none.
    """
    results = data.get("results")
    if not isinstance(results, Mapping):
        raise ScoresError("holds no object 'results'", where=path, fix=f"give a {RESULTS_FILES} of a whole evaluation")
    return results


def metrics_of(row: Mapping[str, Any]) -> dict[str, Metric]:
    """Every number of a task with its standard error: `acc,none` and `acc_stderr,none`, or both without a filter."""
    metrics = {}
    for key, value in row.items():
        metric, comma, chosen = key.partition(",")
        if key not in _NO_METRIC and not metric.endswith("_stderr") and is_number(value):
            stderr: Any = row.get(f"{metric}_stderr{comma}{chosen}")  # "N/A" or NaN where it is not defined
            defined = is_number(stderr) and math.isfinite(stderr)
            metrics[key] = Metric(float(value), float(stderr) if defined else None)
    return metrics


def conditions_of(*, version: Any, n_shot: Any, limit: Any, task_hash: Any = None) -> dict[str, str]:
    """The conditions of a task's measurement that the file gives; no `limit` is the condition `NO_LIMIT`."""
    # The hash covers the examples, of which a limit takes fewer: one difference is one note.
    digest = str(task_hash)[:8] if task_hash and limit is None else None
    named = {"version": version, "n-shot": n_shot, "limit": NO_LIMIT if limit is None else limit, "task hash": digest}
    return {name: str(value) for name, value in named.items() if value is not None}


def first_count(*values: Any) -> int | None:
    """The first of some JSON values that is a whole number from 1; None where none is."""
    return next((v for v in values if isinstance(v, int) and not isinstance(v, bool) and v > 0), None)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number that a float can hold; `true` and `false` are none."""
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return whole or isinstance(value, float)


def object_at(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The JSON object at a key, empty where there is none."""
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


LM_EVAL = ResultsReader("lm-evaluation-harness", RESULTS_PATTERN, RESULTS_FILES, _lm_eval_read, _lm_eval_recognised)
"""`results_<time>.json` of lm-evaluation-harness, in a folder named after the model."""


def _lighteval_recognised(data: Mapping[str, Any]) -> bool:
    return "config_general" in data


def _lighteval_read(data: Mapping[str, Any], path: Path) -> ResultsFile:
    # The file holds no date of its own; its name does.
    return ResultsFile(str(path), (0.0, path.name), tuple(_lighteval_models(data)), tuple(_lighteval_tasks(data, path)))


def _lighteval_tasks(data: Mapping[str, Any], path: Path) -> Iterator[TaskResult]:
    general = object_at(data, "config_general")
    for key, row in results_by_task(data, path).items():
        if key == "all" or not isinstance(row, Mapping):
            continue
        task, shots = _task_and_shots(key)
        config: Any = next((c for k, c in object_at(data, "config_tasks").items() if f"{key}|".startswith(f"{k}|")), {})
        yield TaskResult(
            where=f"{path}: task {key}",
            names=(task, task.rpartition(":")[2]),
            metrics=metrics_of(row),
            n=first_count(config.get("effective_num_docs") if isinstance(config, Mapping) else None),
            group=task.endswith(":_average"),
            conditions=conditions_of(
                version=object_at(data, "versions").get(key), n_shot=shots, limit=general.get("max_samples")
            ),
        )


def _task_and_shots(key: str) -> tuple[str, str | None]:
    """Task and number of examples in the prompt, of `task|5` and of `suite|task|5|0`."""
    parts = key.split("|")
    if len(parts) >= 3:
        return parts[1], parts[2]
    return parts[0], parts[1] if len(parts) == 2 else None


def _lighteval_models(data: Mapping[str, Any]) -> Iterator[str]:
    general = object_at(data, "config_general")
    for part in (object_at(general, "model_config"), general):
        yield from (str(part[key]) for key in MODEL_KEYS if isinstance(part.get(key), str))


LIGHTEVAL = ResultsReader("lighteval", RESULTS_PATTERN, RESULTS_FILES, _lighteval_read, _lighteval_recognised)
"""`results_<time>.json` of lighteval, below `results/<model>`."""
