"""Folder layouts from which a run.yaml is drafted, and what file names say of a run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from geodiag.common.adapters import ADAPTER_CONFIG
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
    written_scores,
)
from geodiag.runs.draft_gcwm import STATS, gcwm_draft

_STEP = re.compile(r"(?:step|state|after)[_-]?0*(\d+)(?:[_-](.+))?", re.IGNORECASE)
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_NUMBERED = re.compile(r"0*(\d+)[._-](.+)")


@dataclass(frozen=True)
class FolderLayout:
    """One way in which a run's checkpoints lie in a folder."""

    name: str
    """What it looks like, for the error that lists the layouts."""
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
    known = "; ".join(layout.name for layout in FOLDER_LAYOUTS)
    raise ManifestError("no known layout of checkpoints", where=folder, fix=f"known are {known}")


def _step_folders(folder: Path) -> Draft | None:
    found = _by_number(folder, _STEP)
    trained = {number: path for number, path in found.items() if number > 0}
    if not trained:
        return None
    tasks = {number: _task(path) for number, path in trained.items()}
    experts = guess_experts(folder, [task for task in tasks.values() if task])
    steps = [
        DraftStep(tasks[n], written_scores(trained[n], folder), experts.get(tasks[n] or ""))
        if n in trained
        else DraftStep(None, None, comment=f"there is no folder of step {n}")
        for n in range(1, max(trained) + 1)
    ]
    return _draft(folder, "folders named step_NN_task", steps, states=list(trained.values()), zero=found.get(0))


def _trainer_folders(folder: Path) -> Draft | None:
    found = _by_number(folder, _CHECKPOINT)
    trained = [path for number, path in sorted(found.items()) if number > 0]
    if not trained:
        return None
    steps = [DraftStep(None, written_scores(path, folder)) for path in trained]
    return _draft(folder, "a Trainer's folders named checkpoint-N", steps, states=trained, zero=found.get(0))


def _adapter_folders(folder: Path) -> Draft | None:
    adapters = [path for path in folders_in(folder) if (path / ADAPTER_CONFIG).is_file()]
    if not adapters:
        return None
    numbers = {path: found for path in adapters if (found := _NUMBERED.fullmatch(path.name))}
    ordered = len(numbers) == len(adapters) or len(adapters) == 1
    if len(numbers) == len(adapters):
        adapters = [path for _, path in sorted(_by_number(folder, _NUMBERED, among=adapters).items())]
    steps = [DraftStep(numbers[p][2] if p in numbers else p.name, written_scores(p, folder)) for p in adapters]
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
    base, comment = (written_scores(zero, folder), "found beside the steps") if zero else guess_base(folder, states)
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
    found: dict[int, Path] = {}
    for path in folders_in(folder) if among is None else among:
        match = pattern.fullmatch(path.name)
        if match is None:
            continue
        number = int(match[1])
        if number in found:
            what = f"{found[number].name} and {path.name} are both number {number}"
            raise ManifestError(what, where=folder, fix="keep one of them in the folder, or number them apart")
        found[number] = path
    return found


def _task(path: Path) -> str | None:
    match = _STEP.fullmatch(path.name)
    return match[2] if match else None


FOLDER_LAYOUTS: tuple[FolderLayout, ...] = (
    FolderLayout(f"the folder of a GCWM merge with its {STATS}", gcwm_draft),
    FolderLayout("folders named step_NN_task", _step_folders),
    FolderLayout("folders named checkpoint-N", _trainer_folders),
    FolderLayout("a folder of LoRA adapters", _adapter_folders),
)
"""In the order in which they are tried."""
