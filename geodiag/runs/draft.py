"""The draft of a `run.yaml`: its text with lines to fill in, and guesses from a folder of checkpoints."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from geodiag.common.adapters import ADAPTER_CONFIG
from geodiag.common.files import read_json_object
from geodiag.errors import CheckpointError, ManifestError
from geodiag.runs.manifest import fold_task_name
from geodiag.runs.scores.loading import holds_results
from geodiag.runs.yaml_source import YamlSource, scalars

FILL_IN = "FILL_IN"
"""The placeholder of a value that only a person knows; a manifest with it left in is refused."""


@dataclass(frozen=True)
class DraftStep:
    """One step of a draft; None for a value to fill in."""

    task: str | None
    """The task trained at it."""
    state: str | None
    """The path of the checkpoint after it, as the manifest writes it."""
    expert: str | None = None
    """The path of its task's expert."""
    comment: str = ""
    """The comment at the end of its line."""


@dataclass(frozen=True)
class Draft:
    """A run as guessed from its folder; None for a value to fill in."""

    folder: Path
    """The run's folder, into which the manifest is written."""
    layout: str
    """The layout that was recognised, as a noun phrase."""
    run: str
    """The run's id, made of the folder's name."""
    size: str | None
    method: str | None
    base: str | None
    updates: str
    """`experts` or `increments`."""
    memory: str
    """`all`, `anchor`, or a number."""
    steps: tuple[DraftStep, ...]
    base_comment: str = "the checkpoint that the run started from"
    """The comment on the base."""
    scores: str | None = None
    probes: str | None = None
    ordered: bool = True
    """Whether the order of the steps is known."""

    @property
    def path(self) -> Path:
        """The manifest's file."""
        return self.folder / "run.yaml"

    @property
    def text(self) -> str:
        """The manifest's text."""
        return "\n".join((*self._head(), "steps:", *self._order(), *map(self._step, self.steps))) + "\n"

    @property
    def to_fill_in(self) -> tuple[str, ...]:
        """The lines of the text that a person has to fill in."""
        return tuple(line.strip() for line in self.text.splitlines() if FILL_IN in line.partition("#")[0])

    def _head(self) -> list[str]:
        return [
            f"# Drafted from {self.layout}. Replace every {FILL_IN}; what stands behind a # may go.",
            _line("run", self.run, "an id, unique in a store"),
            _line("size", self.size, "the label of the model size, such as 4B"),
            _line("method", self.method, "the label of the training method, such as EWC"),
            "# seed: 0",
            _line("base", self.base, self.base_comment),
            _line(
                "updates", self.updates, "experts (each less the base) or increments (each state less the one before)"
            ),
            _line("memory", self.memory, "the active set: all, anchor, or how many of the last tasks"),
            _optional("scores", self.scores, "scores.csv"),
            _optional("probes", self.probes, "probes.jsonl"),
        ]

    def _order(self) -> list[str]:
        if self.ordered:
            return []
        return [f"  - {FILL_IN}  # put the steps into the order in which they were trained, then delete this line"]

    def _step(self, step: DraftStep) -> str:
        values = {"task": step.task or FILL_IN, "state": step.state or FILL_IN}
        if self.updates == "experts":
            values["expert"] = step.expert or FILL_IN
        return f"  - {_yaml(values)}" + (f"  # {step.comment}" if step.comment else "")


def write_draft(draft: Draft, *, overwrite: bool = False) -> None:
    """Write a draft as the `run.yaml` of its folder.

    Args:
        draft: the draft.
        overwrite: replace a `run.yaml` that is there.

    Raises:
        ManifestError: there is one, or the folder cannot be written into.
    """
    if draft.path.exists() and not overwrite:
        raise ManifestError("there is a run.yaml already", where=draft.path, fix="pass --overwrite to replace it")
    try:
        draft.path.write_text(draft.text, encoding="utf-8")
    except OSError as error:
        raise ManifestError(f"cannot be written ({error.strerror})", where=draft.path) from error


def unfilled(source: YamlSource) -> ManifestError | None:
    """The error of a manifest in which lines are still to fill in; None when all are.

    Args:
        source: the manifest as read.
    """
    lines = sorted({node.start_mark.line + 1 for node in scalars(source.root) if str(node.value).strip() == FILL_IN})
    if not lines:
        return None
    many = f"{len(lines)} lines are" if len(lines) > 1 else "1 line is"
    numbers = ", ".join(map(str, lines[:12])) + (", ..." if len(lines) > 12 else "")
    problem = f"{many} still to fill in (line{'s' if len(lines) > 1 else ''} {numbers})"
    return ManifestError(problem, where=f"{source.path}:{lines[0]}", fix=f"replace every {FILL_IN}")


def _line(key: str, value: str | None, comment: str) -> str:
    return f"{_yaml({key: value or FILL_IN})[1:-1]}  # {comment}"


def _optional(key: str, value: str | None, example: str) -> str:
    return f"# {key}: {example}" if value is None else _yaml({key: value})[1:-1]


def _yaml(values: dict[str, str]) -> str:
    """Keys and values in flow style on one line, quoted where YAML needs it; `memory: 3` stays a number."""
    typed = {key: int(value) if key == "memory" and value.isdigit() else value for key, value in values.items()}
    return yaml.safe_dump(typed, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6).strip()


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


def written_path(path: Path, folder: Path) -> str:
    """A path as a manifest in `folder` writes it: relative below the folder's parent, absolute elsewhere."""
    return Path(os.path.relpath(path, folder)).as_posix() if path.is_relative_to(folder.parent) else path.as_posix()


def guess_run(folder: Path) -> str:
    """An id made of the folder's name: characters that an id may not have become `-`."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-.")
    return name[:200] or "run"


def guess_base(folder: Path, states: Sequence[Path]) -> tuple[str | None, str]:
    """The base's path and the comment on it: a folder of a usual name, or the base that the checkpoints name."""
    for parent in (folder, folder.parent):
        for name in _BASES:
            if (parent / name).is_dir():
                return written_path(parent / name, folder), f"a folder named {name} lies here"
    named = _named_bases(states)
    if len(named) == 1 and Path(named[0]).is_dir():
        return written_path(Path(os.path.abspath(named[0])), folder), "named by the checkpoints"
    return None, "the checkpoint that the run started from" + (
        f"; the checkpoints name {', '.join(named[:3])}" if named else ""
    )


def guess_size(folder: Path, states: Sequence[Path]) -> str | None:
    """A size such as `8B` in the name of the base or of the folder; None where there is none."""
    for text in (*_named_bases(states), folder.name):
        if sizes := _SIZE.findall(re.sub(r"[_-]", " ", text)):
            return str(sizes[-1]).upper()
    return None


def guess_experts(folder: Path, tasks: Iterable[str]) -> dict[str, str]:
    """The experts' paths by task: folders named after them in a folder `experts`, in the run's folder or its parent."""
    parents = [parent / name for parent in (folder, folder.parent) for name in _EXPERTS if (parent / name).is_dir()]
    by_task = {_without_number(child.name): child for parent in reversed(parents) for child in folders_in(parent)}
    matches = {task: by_task.get(_without_number(task)) for task in tasks}
    return {task: written_path(path, folder) for task, path in matches.items() if path is not None}


def guess_file(folder: Path, kind: str) -> str | None:
    """The name of the run's `scores` or `probes` in its folder, one of the usual ones; a folder has to hold results."""
    paths = (folder / name for name in _FILES[kind])
    return next((path.name for path in paths if path.is_file() or holds_results(path)), None)


def _without_number(name: str) -> str:
    """A task's name without the number that orders it: `01_biology` is biology."""
    return re.sub(r"^(?:step_)?\d+_", "", fold_task_name(name))


def _named_bases(states: Sequence[Path]) -> list[str]:
    """The bases that checkpoints name in their configuration, each once."""
    named: dict[str, None] = {}
    for state in states:
        for file, key in ((ADAPTER_CONFIG, "base_model_name_or_path"), ("config.json", "_name_or_path")):
            value = _json(state / file).get(key)
            if isinstance(value, str) and value.strip():
                named.setdefault(value.strip())
                break
    return list(named)


def _json(file: Path) -> Mapping[str, Any]:
    """A checkpoint's configuration, empty where it cannot be read: extraction reports that."""
    try:
        return read_json_object(file)
    except CheckpointError:
        return {}
