"""The folder of a run that a merge makes: finished states, states under construction, and the recipe of both.

OUT/run.yaml                 the run; written last, when every state is whole
OUT/merges.parquet           diagnostics of the rule, a row a step and layer
OUT/merge.json               the recipe: everything that the states' numbers depend on
OUT/states/step_NN_<task>/   the states
OUT/.merge/                  states under construction and the rows of finished layers; gone in the end
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from geodiag.common.files import flush, read_json_object, whole_folder, write_text
from geodiag.errors import CheckpointError, SettingsError
from geodiag.merging.config import Expert, MergeConfig
from geodiag.merging.state_files import StateLayout, side_files

RUN_FILE, ROWS_FILE, RECIPE_FILE = "run.yaml", "merges.parquet", "merge.json"
STATES_FOLDER, WORK_FOLDER = "states", ".merge"
MergeRecipe = Mapping[str, Any]
MergeRow = Mapping[str, Any]


class RunFolder:
    """A run's folder, finished or in the making.

    Args:
        path: the folder; made when it is not there.
        experts: the experts, one a step.
    """

    def __init__(self, path: Path, experts: Sequence[Expert]) -> None:
        self.path, self._experts = path, experts
        self._work = path / WORK_FOLDER

    def state(self, step: int) -> Path:
        """The folder of a finished state."""
        return self.path / STATES_FOLDER / self._name(step)

    def steps_done(self, recipe: MergeRecipe) -> int:
        """How many steps are finished, of a folder that is new, empty, or an earlier part of the same merge.

        Raises:
            SettingsError: the folder holds something else, or a merge with other settings or inputs.
        """
        if self.path.exists() and not self.path.is_dir():
            raise SettingsError("'out' is a file", where=self.path, fix="name a new or empty folder")
        recipes = [
            read_recipe(folder / RECIPE_FILE) for folder in (self.path, self._work) if (folder / RECIPE_FILE).is_file()
        ]
        if not recipes and self.path.exists() and any(path.name != WORK_FOLDER for path in self.path.iterdir()):
            raise SettingsError("the folder is not empty and no merge", where=self.path, fix="name another 'out'")
        for made in recipes:
            if changes := changed(made, recipe):
                message = f"it holds a merge made with other {', '.join(changes[:3])}"
                raise SettingsError(message, where=self.path, fix="name another 'out', or delete the folder")
        return len(read_recipe(self.path / RECIPE_FILE)["steps"]) if (self.path / RECIPE_FILE).is_file() else 0

    @contextmanager
    def working(self, recipe: MergeRecipe) -> Iterator[None]:
        """Lock the folder against other processes.

        Raises:
            SettingsError: another process merges into it.
        """
        self._work.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._work / "lock", timeout=0):
                self.steps_done(recipe)  # another process may have finished in between
                yield
        except Timeout as cause:
            raise SettingsError("another process merges into it", where=self.path, fix="wait for it") from cause

    def begin(self, recipe: MergeRecipe, layout: StateLayout, *, steps: range) -> None:
        """Lay out the states of these steps that do not exist yet."""
        if (self._work / RECIPE_FILE).is_file() and read_recipe(self._work / RECIPE_FILE) != recipe:
            self._forget(steps)  # begun with fewer steps: its rows and files lack the others
        write_text(self._work / RECIPE_FILE, json.dumps(recipe, indent=1, sort_keys=True) + "\n")
        for step in steps:
            if not self.draft(step).is_dir() and not self.state(step).is_dir():
                self._lay_out(self.draft(step), layout)

    def draft(self, step: int) -> Path:
        """The folder of a state under construction."""
        return self._work / self._name(step)

    def done(self, layers: Sequence[str]) -> set[str]:
        """Those of the layers that are finished in all states under construction."""
        return {layer for layer in layers if self._rows(layer).is_file()}

    def put_rows(self, layer: str, rows: Sequence[MergeRow]) -> None:
        """Mark a layer as finished in all states, with its rows."""
        write_text(self._rows(layer), json.dumps(rows))

    def rows(self, layers: Sequence[str]) -> list[MergeRow]:
        """The rows of all finished layers, in order."""
        return [row for layer in layers for row in _read_rows(self._rows(layer))]

    def changes(self, layer: str) -> Path:
        """The file of a layer's changes, which wait for the scale of the whole model."""
        return self._work / "changes" / f"{_safe(layer)}.safetensors"

    def finish(self, recipe: MergeRecipe, *, steps: range) -> None:
        """Move the states of these steps to their final folders and write their recipe."""
        for step in steps:
            if self.draft(step).is_dir():
                self.state(step).parent.mkdir(exist_ok=True)
                os.replace(self.draft(step), self.state(step))
        write_text(self.path / RECIPE_FILE, json.dumps(recipe, indent=1, sort_keys=True) + "\n")

    def clear(self) -> None:
        """Delete the files that only a merge under way needs."""
        shutil.rmtree(self._work, ignore_errors=True)

    def _forget(self, steps: range) -> None:
        leftover = [path for path in self._work.iterdir() if path.is_dir()]
        for path in leftover + [self.state(step) for step in steps]:
            shutil.rmtree(path, ignore_errors=True)

    def _lay_out(self, folder: Path, layout: StateLayout) -> None:
        with whole_folder(folder) as draft:
            layout.create(draft)
            for path in side_files(layout.base):
                shutil.copyfile(path, draft / path.name)
            _write_dtype(draft / "config.json", layout)
            for path in draft.rglob("*"):
                if path.is_file():
                    flush(path)

    def _rows(self, layer: str) -> Path:
        return self._work / "layers" / f"{_safe(layer)}.json"

    def _name(self, step: int) -> str:
        return f"step_{step:02d}_{_safe(self._experts[step - 1].task)}"


def make_recipe(config: MergeConfig, fingerprints: Mapping[Path, str]) -> dict[str, Any]:
    """Everything that the states' numbers depend on, without labels, scores and the device.

    Args:
        config: the merge.
        fingerprints: of the base and of every expert, by path.
    """
    etas = config.etas
    return {
        "run": config.run,
        "rule": config.rule.model_dump(mode="json", by_alias=True),
        "memory": config.memory,
        "states": config.states,
        "dtype": config.dtype,
        "families": sorted(config.families),
        "layers": config.layers,
        "base": fingerprints[config.base],
        "steps": [
            {"task": e.task, "weight": e.weight, "eta": etas[n], "expert": fingerprints[e.checkpoint]}
            for n, e in enumerate(config.experts)
        ],
    }


def changed(made: MergeRecipe, wanted: MergeRecipe) -> list[str]:
    """The keys in which an earlier merge differs; steps that it does not have yet do not count."""
    keys = [key for key in wanted if key != "steps" and made.get(key) != wanted[key]]
    steps = enumerate(zip(made["steps"], wanted["steps"], strict=False), start=1)
    keys += [f"{key} (step {n})" for n, (before, now) in steps for key in now if before[key] != now[key]]
    gone = len(made["steps"]) - len(wanted["steps"])
    return keys + ([f"steps ({gone} more)"] if gone > 0 else [])


def read_recipe(path: Path) -> dict[str, Any]:
    """A recipe that a merge wrote.

    Raises:
        SettingsError: the file is damaged.
    """
    try:
        return read_json_object(path, error=SettingsError)
    except SettingsError as cause:
        raise _damaged(path) from cause


def _read_rows(path: Path) -> list[MergeRow]:
    try:
        rows: list[MergeRow] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as cause:
        raise _damaged(path) from cause
    return rows


def _damaged(path: Path) -> SettingsError:
    return SettingsError("cannot be read", where=path, fix="delete the folder and merge again")


def check_space(path: Path, needed: int) -> None:
    """Check that the disk has room for the states.

    Args:
        path: the run's folder, which need not exist.
        needed: bytes that will be written.

    Raises:
        CheckpointError: less than `needed` bytes are free.
    """
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        message = f"the merge writes {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free"
        raise CheckpointError(message, where=path, fix="make room, or name an 'out' on another disk")


def _write_dtype(config: Path, layout: StateLayout) -> None:
    """Write the type of the weights into a state's config.json, where the merge has changed it."""
    types = {slot.dtype for slot in layout.slots.values()}
    same = all(slot.dtype == layout.base.info(name).dtype for name, slot in layout.slots.items())
    if same or len(types) != 1 or not config.is_file():
        return
    data = read_json_object(config)
    for key in ("dtype", "torch_dtype"):
        if key in data:
            data[key] = next(iter(types))
    config.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)
