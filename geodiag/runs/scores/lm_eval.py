"""Results files of lm-evaluation-harness and lighteval."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geodiag.errors import ScoresError
from geodiag.runs.scores.source import NO_LIMIT, Metric, ResultsFile, TaskResult

_NO_METRIC = ("alias", "name", "sample_len", "sample_count", "samples")
_MODEL_KEYS = ("peft", "delta", "pretrained", "model", "path", "engine", "model_name")


def read_results(path: Path) -> ResultsFile:
    """One results file of either harness.

    Args:
        path: a `results_*.json`.

    Raises:
        ScoresError: it cannot be read, is not JSON, or is of no known harness.
    """
    data = _json_object(path)
    for harness in HARNESSES:
        if harness.recognised(data):
            tasks = tuple(harness.tasks(data, path))
            date = data.get("date")
            written = float(date) if isinstance(date, int | float) and not isinstance(date, bool) else 0.0
            return ResultsFile(str(path), (written, path.name), tuple(harness.models(data)), tasks)
    known = " or ".join(harness.name for harness in HARNESSES)
    raise ScoresError("its keys are not those of a results file", where=path, fix=f"give one of {known}")


def _json_object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ScoresError(f"cannot be read ({error.strerror})", where=path) from error
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", type(error).__name__)
        raise ScoresError(f"not valid JSON ({reason})", where=path, fix="copy it again") from error
    if not isinstance(data, dict) or not isinstance(data.get("results"), dict):
        raise ScoresError("holds no object 'results'", where=path, fix="give a results_*.json of a whole evaluation")
    return data


def _lm_eval_tasks(data: Mapping[str, Any], path: Path) -> Iterator[TaskResult]:
    children, better = _table(data, "group_subtasks"), _table(data, "higher_is_better")
    for name, row in data["results"].items():
        if isinstance(row, Mapping):
            alias = str(row.get("alias", name)).lstrip(" -")
            yield TaskResult(
                where=f"{path}: task {name}",
                names=(name, alias),
                metrics=_metrics(row),
                n=_count(_table(_table(data, "n-samples"), name).get("effective"), row.get("sample_len")),
                group=bool(children.get(name)),
                conditions=_conditions(
                    version=_table(data, "versions").get(name),
                    n_shot=_table(data, "n-shot").get(name),
                    limit=_table(data, "config").get("limit"),
                    task_hash=_table(data, "task_hashes").get(name),
                ),
                lower_is_better=_lower(_metrics(row), _table(better, name)),
            )


def _lm_eval_models(data: Mapping[str, Any]) -> Iterator[str]:
    """Every path among the model's arguments, the one that the harness names folders by first."""
    arguments = _table(data, "config").get("model_args")
    if isinstance(arguments, str):
        arguments = dict(part.partition("=")[::2] for part in arguments.split(","))
    if isinstance(arguments, Mapping):
        yield from (str(arguments[key]) for key in _MODEL_KEYS if arguments.get(key))


def _lighteval_tasks(data: Mapping[str, Any], path: Path) -> Iterator[TaskResult]:
    general = _table(data, "config_general")
    for key, row in data["results"].items():
        if key == "all" or not isinstance(row, Mapping):
            continue
        task, shots = _lighteval_key(key)
        config: Any = next((c for k, c in _table(data, "config_tasks").items() if f"{key}|".startswith(f"{k}|")), {})
        yield TaskResult(
            where=f"{path}: task {key}",
            names=(task, task.rpartition(":")[2]),
            metrics=_metrics(row),
            n=_count(config.get("effective_num_docs") if isinstance(config, Mapping) else None),
            group=task.endswith(":_average"),
            conditions=_conditions(
                version=_table(data, "versions").get(key), n_shot=shots, limit=general.get("max_samples")
            ),
        )


def _lighteval_key(key: str) -> tuple[str, str | None]:
    """Task and number of examples in the prompt, of `task|5` and of `suite|task|5|0`."""
    parts = key.split("|")
    if len(parts) >= 3:
        return parts[1], parts[2]
    return parts[0], parts[1] if len(parts) == 2 else None


def _lighteval_models(data: Mapping[str, Any]) -> Iterator[str]:
    general = _table(data, "config_general")
    for part in (_table(general, "model_config"), general):
        yield from (str(part[key]) for key in _MODEL_KEYS if isinstance(part.get(key), str))


@dataclass(frozen=True)
class Harness:
    """How one evaluation harness writes its results."""

    name: str
    """What it is called."""
    recognised: Callable[[Mapping[str, Any]], bool]
    """Whether a results file is one of its own."""
    tasks: Callable[[Mapping[str, Any], Path], Iterator[TaskResult]]
    """The tasks in a file of its own."""
    models: Callable[[Mapping[str, Any]], Iterator[str]]
    """Paths of the model that was scored."""


HARNESSES: tuple[Harness, ...] = (
    Harness("lighteval", lambda data: "config_general" in data, _lighteval_tasks, _lighteval_models),
    Harness(
        "lm-evaluation-harness",
        lambda data: any(key in data for key in ("versions", "configs", "config", "n-shot")),
        _lm_eval_tasks,
        _lm_eval_models,
    ),
)
"""In the order in which they are tried."""


def _metrics(row: Mapping[str, Any]) -> dict[str, Metric]:
    """Every number of a task with its standard error: `acc,none` and `acc_stderr,none`, or both without a filter."""
    found = {}
    for key, value in row.items():
        metric, comma, chosen = key.partition(",")
        if key not in _NO_METRIC and not metric.endswith("_stderr") and _is_number(value):
            stderr: Any = row.get(f"{metric}_stderr{comma}{chosen}")  # "N/A" or NaN where it is not defined
            known = _is_number(stderr) and math.isfinite(stderr)
            found[key] = Metric(float(value), float(stderr) if known else None)
    return found


def _lower(metrics: Mapping[str, Metric], better: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name in metrics if better.get(name.partition(",")[0]) is False)


def _conditions(*, version: Any, n_shot: Any, limit: Any, task_hash: Any = None) -> dict[str, str]:
    # The hash covers the examples, of which a limit takes fewer: one difference is told once.
    digest = str(task_hash)[:8] if task_hash and limit is None else None
    named = {"version": version, "n-shot": n_shot, "limit": NO_LIMIT if limit is None else limit, "task hash": digest}
    return {name: str(value) for name, value in named.items() if value is not None}


def _count(*values: Any) -> int | None:
    return next((v for v in values if isinstance(v, int) and not isinstance(v, bool) and v > 0), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}
