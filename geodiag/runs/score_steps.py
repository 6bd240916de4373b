"""Which step of a run a folder or a column of scores belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePath

from geodiag.runs.manifest import Manifest
from geodiag.runs.names import fold_task_name

_NUMBERED = re.compile(r"(?:step|state|after)?_?0*([0-9]{1,6})(?:_.*)?")
_BASES = frozenset({"base", "base_model", "pretrained", "before"})


def step_of_name(name: str, manifest: Manifest) -> int | None:
    """The step that a name means.

    That is, in this order: the name of a state's or the base's folder, or their path as evaluation harnesses write
    it into a folder's name; `base` or `pretrained`; or a number, as in `3`, `step_03` or `step_03_biology`.

    Args:
        name: the name of a folder or column.
        manifest: the run.

    Returns:
        The step, 0 being the base; None when the name says nothing.
    """
    step = _by_checkpoint(name, manifest)
    if step is not None:
        return step
    folded = fold_task_name(name)
    if folded in _BASES:
        return 0
    match = _NUMBERED.fullmatch(folded)
    number = int(match[1]) if match else -1
    return number if 0 <= number <= len(manifest.steps) else None


def step_of_model(models: Iterable[str], manifest: Manifest) -> int | None:
    """The step whose state, or the base, a model's path means: the one that shares most of the path's end.

    Args:
        models: paths as an evaluation was given them, the most telling first.
        manifest: the run.

    Returns:
        The step; None when no checkpoint or several fit.
    """
    for model in models:
        shared = {step: _shared_end(PurePath(model), path) for step, path in _checkpoints(manifest).items()}
        most = max(shared.values())
        fitting = [step for step, length in shared.items() if length == most]
        if most and len(fitting) == 1:
            return fitting[0]
    return None


def _by_checkpoint(name: str, manifest: Manifest) -> int | None:
    """By a checkpoint's folder, or by its path as a harness makes a name of it (`__data__runs__a__step_01`)."""
    fitting = set()
    for step, path in _checkpoints(manifest).items():
        ends = ("__".join(path.parts[k:]) for k in range(1, len(path.parts)))
        if name.lstrip("_") in {re.sub(r'["<>:/|\\?*\[\]]+', "__", end) for end in ends}:
            fitting.add(step)
    return fitting.pop() if len(fitting) == 1 else None


def _checkpoints(manifest: Manifest) -> dict[int, Path]:
    return {0: manifest.base} | {number: step.state for number, step in enumerate(manifest.steps, start=1)}


def _shared_end(a: PurePath, b: PurePath) -> int:
    """How many parts two paths share at their ends."""
    pairs = list(zip(reversed(a.parts), reversed(b.parts), strict=False))
    return next((n for n, (x, y) in enumerate(pairs) if x != y), len(pairs))
