"""Results files of lighteval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from geodiag.runs.scores.lm_eval import (
    MODEL_KEYS,
    RESULTS_FILES,
    RESULTS_PATTERN,
    conditions_of,
    first_count,
    metrics_of,
    object_at,
    results_by_task,
)
from geodiag.runs.scores.source import ResultsFile, ResultsReader, TaskResult


def _recognised(data: Mapping[str, Any]) -> bool:
    return "config_general" in data


def _read(data: Mapping[str, Any], path: Path) -> ResultsFile:
    # The file holds no date of its own; its name does.
    return ResultsFile(str(path), (0.0, path.name), tuple(_models(data)), tuple(_tasks(data, path)))


def _tasks(data: Mapping[str, Any], path: Path) -> Iterator[TaskResult]:
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


def _models(data: Mapping[str, Any]) -> Iterator[str]:
    general = object_at(data, "config_general")
    for part in (object_at(general, "model_config"), general):
        yield from (str(part[key]) for key in MODEL_KEYS if isinstance(part.get(key), str))


LIGHTEVAL = ResultsReader("lighteval", RESULTS_PATTERN, RESULTS_FILES, _read, _recognised)
"""`results_<time>.json` of lighteval, below `results/<model>`."""
