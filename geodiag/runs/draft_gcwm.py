"""The folder of a continual GCWM merge as the method's released merger leaves it (arXiv 2605.09608).

Its `continual_gcwm_stats.json` lists the steps in order: `steps[].new_task`, `save_dir` (null where steps were not
saved), and `active_task_names`, in which `merged_until_3` means the merge up to step 3. Neither the base nor the
experts are named in it. Task names may carry the name of a folder, as in `step_01_biology` or `01_biology`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from geodiag.errors import ManifestError
from geodiag.runs.draft import (
    Draft,
    DraftStep,
    guess_base,
    guess_experts,
    guess_file,
    guess_run,
    guess_size,
    written_scores,
)

STATS = "continual_gcwm_stats.json"
_PREFIX = re.compile(r"^(?:step_\d+_)?(?:\d+_)?")


def gcwm_draft(folder: Path) -> Draft | None:
    """The draft of such a folder; None where it is none.

    Raises:
        ManifestError: its statistics cannot be read, or are not of a continual merge.
    """
    file = folder / STATS
    if not file.is_file():
        return None
    stats = _stats(file)
    tasks = [_task(step, number, stats, file) for number, step in enumerate(stats["steps"], start=1)]
    states = [_state(step, folder) for step in stats["steps"]]
    if states[-1] is None and (folder / "config.json").is_file():
        states[-1] = folder  # the merger leaves the last model beside its statistics
    experts = guess_experts(folder, tasks)
    base, comment = guess_base(folder, [])  # the states name themselves, not what they were merged onto
    return Draft(
        folder=folder,
        layout=f"a GCWM merge ({STATS})",
        run=guess_run(folder),
        size=guess_size(folder, []),
        method=str(stats.get("mode") or "gcwm").upper(),
        base=base,
        base_comment=comment,
        updates="experts",
        memory=_memory(stats, file),
        steps=tuple(
            DraftStep(
                task,
                None if state is None else written_scores(state, folder),
                experts.get(task),
                comment=_comment(step) if state is None else "",
            )
            for task, state, step in zip(tasks, states, stats["steps"], strict=True)
        ),
        scores=guess_file(folder, "scores"),
        probes=guess_file(folder, "probes"),
    )


def _stats(file: Path) -> Mapping[str, Any]:
    try:
        stats = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(f"cannot be read ({error.strerror})", where=file) from error
    except ValueError as error:
        raise ManifestError("not valid JSON", where=file, fix="copy it again") from error
    steps = stats.get("steps") if isinstance(stats, dict) else None
    if not isinstance(steps, list) or not steps or not all(isinstance(step, dict) for step in steps):
        raise ManifestError("lists no steps", where=file, fix="give the folder of a continual merge that ended")
    return stats


def _task(step: Mapping[str, Any], number: int, stats: Mapping[str, Any], file: Path) -> str:
    names = stats.get("task_names")
    listed = names[number - 1] if isinstance(names, list) and len(names) >= number else None
    name = step.get("new_task") or listed
    if not isinstance(name, str) or not name.strip():
        raise ManifestError(f"step {number} names no task", where=file, fix="add its `new_task`")
    return _PREFIX.sub("", name.strip()) or name.strip()


def _state(step: Mapping[str, Any], folder: Path) -> Path | None:
    """Where a step's model lies now: the folder may have been moved since it was written."""
    saved = step.get("save_dir")
    if not isinstance(saved, str) or not saved.strip():
        return None
    moved = folder / PureWindowsPath(saved).name  # splits at / and \ alike
    return next((path for path in (moved, Path(saved)) if path.is_dir()), None)


def _comment(step: Mapping[str, Any]) -> str:
    saved = step.get("save_dir")
    return f"was saved as {saved}" if isinstance(saved, str) and saved.strip() else "its state was not saved"


def _memory(stats: Mapping[str, Any], file: Path) -> str:
    active = [names for step in stats["steps"] if isinstance(names := step.get("active_task_names"), list)]
    anchored = any(str(name).startswith("merged_until_") for names in active for name in names)
    mode = stats.get("memory_mode") or ("current_anchor" if anchored else "all_history")
    if mode == "current_anchor":
        return "anchor"
    if mode != "all_history":
        what = f"memory mode {str(mode)[:40]!r}"
        raise ManifestError(what, where=file, fix="known are all_history and current_anchor")
    size = stats.get("memory_size")
    return str(size) if isinstance(size, int) and not isinstance(size, bool) and size > 0 else "all"
