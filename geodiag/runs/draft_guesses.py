"""What the names and small files of a folder tell of a run; no weight is read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from geodiag.runs.names import fold_task_name
from geodiag.runs.score_folder import is_folder
from geodiag.runs.score_source import ScoreSource

ADAPTER_CONFIG = "adapter_config.json"
_BASES = ("base", "base_model", "pretrained", "step_0", "step_00", "step_00_base", "step_0_base")
_EXPERTS = ("experts", "expert", "expert_models")
_SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?[BbMm])(?![A-Za-z0-9])")
_FILES: Mapping[str, tuple[str, ...]] = {
    "scores": ("scores.csv", "scores.parquet", "scores", "results", "eval_results"),
    "probes": ("probes.jsonl", "probes.parquet"),
}


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones."""
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def written(path: Path, folder: Path) -> str:
    """A path as a manifest in `folder` writes it: relative where it lies near, absolute elsewhere."""
    return Path(os.path.relpath(path, folder)).as_posix() if path.is_relative_to(folder.parent) else path.as_posix()


def guess_run(folder: Path) -> str:
    """An id made of the folder's name: what an id may not have becomes `-`."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-.")
    return name[:200] or "run"


def guess_base(folder: Path, states: Sequence[Path]) -> tuple[str | None, str]:
    """The base's path, and what to say of it: a folder of its name, or what the checkpoints say they came from."""
    for place in (folder, folder.parent):
        for name in _BASES:
            if (place / name).is_dir():
                return written(place / name, folder), f"a folder named {name} lies here"
    named = _named_bases(states)
    if len(named) == 1 and Path(named[0]).is_dir():
        return written(Path(os.path.abspath(named[0])), folder), "named by the checkpoints"
    return None, "the checkpoint that the run started from" + (
        f"; the checkpoints name {', '.join(named[:3])}" if named else ""
    )


def guess_size(folder: Path, states: Sequence[Path]) -> str | None:
    """`8B` from the names of the base or of the folder; None where none says."""
    for text in (*_named_bases(states), folder.name):
        if found := _SIZE.findall(re.sub(r"[_-]", " ", text)):
            return str(found[-1]).upper()
    return None


def guess_experts(folder: Path, tasks: Iterable[str]) -> dict[str, str]:
    """The experts' paths by task: folders named after the tasks in a folder `experts`, here or beside."""
    places = [place / name for place in (folder, folder.parent) for name in _EXPERTS if (place / name).is_dir()]
    found = {_plain(child.name): child for place in reversed(places) for child in folders_in(place)}
    return {task: written(found[_plain(task)], folder) for task in tasks if _plain(task) in found}


def guess_file(folder: Path, kind: str) -> str | None:
    """The scores or probes that lie in the folder under a usual name; of folders only those with results in them."""
    found = (folder / name for name in _FILES[kind])
    return next((path.name for path in found if path.is_file() or is_folder(ScoreSource(path))), None)


def _plain(name: str) -> str:
    """A task's name without the number that orders it: `01_biology` is biology."""
    return re.sub(r"^(?:step_)?\d+_", "", fold_task_name(name))


def _named_bases(states: Sequence[Path]) -> list[str]:
    """What checkpoints say that they were trained from, each once."""
    named: dict[str, None] = {}
    for state in states:
        for file, key in ((ADAPTER_CONFIG, "base_model_name_or_path"), ("config.json", "_name_or_path")):
            value = _json(state / file).get(key)
            if isinstance(value, str) and value.strip():
                named.setdefault(value.strip())
                break
    return list(named)


def _json(file: Path) -> Mapping[str, Any]:
    """A small file that may help; what cannot be read does not, and extraction says why."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
