"""Folder layouts from which a run.yaml is drafted: numbered steps, Trainer checkpoints, adapters, GCWM merges."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from geodiag.common.adapters import ADAPTER_CONFIG
from geodiag.common.files import read_json_object
from geodiag.errors import ManifestError
from geodiag.runs.draft import (
    Draft,
    DraftStep,
    folders_in,
    guess_base,
    guess_experts,
    guess_file,
    guess_run,
    guess_size,
    written_path,
)

GCWM_STATS = "continual_gcwm_stats.json"
"""The statistics that the GCWM merger leaves in its folder."""

_STEP = re.compile(r"(?:step|state|after)[_-]?0*(\d+)(?:[_-](.+))?", re.IGNORECASE)
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_NUMBERED = re.compile(r"0*(\d+)[._-](.+)")
_STEP_PREFIX = re.compile(r"^(?:step_\d+_)?(?:\d+_)?")


@dataclass(frozen=True)
class FolderLayout:
    """One way of arranging a run's checkpoints in a folder."""

    name: str
    """A description of the layout, for the error that lists them."""
    draft: Callable[[Path], Draft | None]
    """The draft of a folder with this layout; None where it has another."""


def draft_manifest(folder: Path) -> Draft:
    """Draft the manifest of the run in a folder; nothing is written.

    Args:
        folder: the folder with the run's checkpoints.

    Raises:
        ManifestError: there is no such folder, it has no known layout, or two of its folders are one step.
    """
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise ManifestError("no such folder", where=folder, fix="give a folder of checkpoints")
    for layout in FOLDER_LAYOUTS:
        draft = layout.draft(folder)
        if draft is not None:
            return draft
    inside = [child.name for child in folders_in(folder) if any(layout.draft(child) for layout in FOLDER_LAYOUTS)]
    if inside:
        fix = f"draft one run at a time: {', '.join(inside[:6])}"
        raise ManifestError("no run itself, but its folders are", where=folder, fix=fix)
    layouts = "; ".join(layout.name for layout in FOLDER_LAYOUTS)
    raise ManifestError("no known layout of checkpoints", where=folder, fix=f"known are {layouts}")


def _step_folders(folder: Path) -> Draft | None:
    folders = _by_number(folder, _STEP)
    trained = {number: path for number, path in folders.items() if number > 0}
    if not trained:
        return None
    tasks = {number: _task(path) for number, path in trained.items()}
    experts = guess_experts(folder, [task for task in tasks.values() if task])
    steps = [
        DraftStep(tasks[n], written_path(trained[n], folder), experts.get(tasks[n] or ""))
        if n in trained
        else DraftStep(None, None, comment=f"there is no folder of step {n}")
        for n in range(1, max(trained) + 1)
    ]
    return _draft(folder, "folders named step_NN_task", steps, states=list(trained.values()), zero=folders.get(0))


def _trainer_folders(folder: Path) -> Draft | None:
    folders = _by_number(folder, _CHECKPOINT)
    trained = [path for number, path in sorted(folders.items()) if number > 0]
    if not trained:
        return None
    steps = [DraftStep(None, written_path(path, folder)) for path in trained]
    return _draft(folder, "a Trainer's folders named checkpoint-N", steps, states=trained, zero=folders.get(0))


def _adapter_folders(folder: Path) -> Draft | None:
    adapters = [path for path in folders_in(folder) if (path / ADAPTER_CONFIG).is_file()]
    if not adapters:
        return None
    numbers = {path: match for path in adapters if (match := _NUMBERED.fullmatch(path.name))}
    ordered = len(numbers) == len(adapters) or len(adapters) == 1
    if len(numbers) == len(adapters):
        adapters = [path for _, path in sorted(_by_number(folder, _NUMBERED, among=adapters).items())]
    steps = [DraftStep(numbers[p][2] if p in numbers else p.name, written_path(p, folder)) for p in adapters]
    return _draft(folder, "a folder of adapters", steps, states=adapters, ordered=ordered)


def _draft(
    folder: Path,
    layout: str,
    steps: list[DraftStep],
    *,
    states: list[Path],
    zero: Path | None = None,
    ordered: bool = True,
) -> Draft:
    base, comment = (written_path(zero, folder), "found beside the steps") if zero else guess_base(folder, states)
    with_experts = any(step.expert for step in steps)
    return Draft(
        folder=folder,
        layout=layout,
        run=guess_run(folder),
        size=guess_size(folder, states),
        method=None,
        base=base,
        base_comment=comment,
        updates="experts" if with_experts else "increments",
        memory="all",
        steps=tuple(steps),
        scores=guess_file(folder, "scores"),
        probes=guess_file(folder, "probes"),
        ordered=ordered,
    )


def _by_number(folder: Path, pattern: re.Pattern[str], *, among: list[Path] | None = None) -> Mapping[int, Path]:
    numbered: dict[int, Path] = {}
    for path in folders_in(folder) if among is None else among:
        match = pattern.fullmatch(path.name)
        if match is None:
            continue
        number = int(match[1])
        if number in numbered:
            problem = f"{numbered[number].name} and {path.name} are both number {number}"
            raise ManifestError(problem, where=folder, fix="keep one of them in the folder, or number them apart")
        numbered[number] = path
    return numbered


def _task(path: Path) -> str | None:
    match = _STEP.fullmatch(path.name)
    return match[2] if match else None


def _gcwm_merge(folder: Path) -> Draft | None:
    """The folder of a continual GCWM merge as the method's released merger leaves it (arXiv 2605.09608).

    Its `continual_gcwm_stats.json` lists the steps in order: `steps[].new_task`, `save_dir` (null where steps were
    not saved), and `active_task_names`, in which `merged_until_3` means the merge up to step 3. Neither the base nor
    the experts are named in it. Task names may carry the name of a folder, as in `step_01_biology` or `01_biology`.

    Raises:
        ManifestError: the statistics cannot be read, or are not of a continual merge.
    """
    file = folder / GCWM_STATS
    if not file.is_file():
        return None
    stats = _gcwm_stats(file)
    tasks = [_gcwm_task(step, number, stats, file) for number, step in enumerate(stats["steps"], start=1)]
    states = [_gcwm_state(step, folder) for step in stats["steps"]]
    if states[-1] is None and (folder / "config.json").is_file():
        states[-1] = folder  # the merger saves the last model in the folder of its statistics
    experts = guess_experts(folder, tasks)
    steps = tuple(
        DraftStep(
            task,
            None if state is None else written_path(state, folder),
            experts.get(task),
            comment=_gcwm_comment(step) if state is None else "",
        )
        for task, state, step in zip(tasks, states, stats["steps"], strict=True)
    )
    base, comment = guess_base(folder, [])  # the states name themselves, not the checkpoint they were merged onto
    return Draft(
        folder=folder,
        layout=f"a GCWM merge ({GCWM_STATS})",
        run=guess_run(folder),
        size=guess_size(folder, []),
        method=str(stats.get("mode") or "gcwm").upper(),
        base=base,
        base_comment=comment,
        updates="experts",
        memory=_gcwm_memory(stats, file),
        steps=steps,
        scores=guess_file(folder, "scores"),
        probes=guess_file(folder, "probes"),
    )


def _gcwm_stats(file: Path) -> Mapping[str, Any]:
    stats = read_json_object(file, error=ManifestError)
    steps = stats.get("steps")
    if not isinstance(steps, list) or not steps or not all(isinstance(step, dict) for step in steps):
        raise ManifestError("lists no steps", where=file, fix="give the folder of a continual merge that ended")
    return stats


def _gcwm_task(step: Mapping[str, Any], number: int, stats: Mapping[str, Any], file: Path) -> str:
    names = stats.get("task_names")
    listed = names[number - 1] if isinstance(names, list) and len(names) >= number else None
    name = step.get("new_task") or listed
    if not isinstance(name, str) or not name.strip():
        raise ManifestError(f"step {number} names no task", where=file, fix="add its `new_task`")
    return _STEP_PREFIX.sub("", name.strip()) or name.strip()


def _gcwm_state(step: Mapping[str, Any], folder: Path) -> Path | None:
    """The folder of a step's model; it may have been moved together with the statistics since they were written."""
    saved = step.get("save_dir")
    if not isinstance(saved, str) or not saved.strip():
        return None
    moved = folder / PureWindowsPath(saved).name  # splits at / and \
    return next((path for path in (moved, Path(saved)) if path.is_dir()), None)


def _gcwm_comment(step: Mapping[str, Any]) -> str:
    saved = step.get("save_dir")
    return f"was saved as {saved}" if isinstance(saved, str) and saved.strip() else "its state was not saved"


def _gcwm_memory(stats: Mapping[str, Any], file: Path) -> str:
    active = [names for step in stats["steps"] if isinstance(names := step.get("active_task_names"), list)]
    anchored = any(str(name).startswith("merged_until_") for names in active for name in names)
    mode = stats.get("memory_mode") or ("current_anchor" if anchored else "all_history")
    if mode == "current_anchor":
        return "anchor"
    if mode != "all_history":
        problem = f"memory mode {str(mode)[:40]!r}"
        raise ManifestError(problem, where=file, fix="known are all_history and current_anchor")
    size = stats.get("memory_size")
    return str(size) if isinstance(size, int) and not isinstance(size, bool) and size > 0 else "all"


FOLDER_LAYOUTS: tuple[FolderLayout, ...] = (
    FolderLayout(f"the folder of a GCWM merge with its {GCWM_STATS}", _gcwm_merge),
    FolderLayout("folders named step_NN_task", _step_folders),
    FolderLayout("folders named checkpoint-N", _trainer_folders),
    FolderLayout("a folder of LoRA adapters", _adapter_folders),
)
"""In the order in which they are tried."""
