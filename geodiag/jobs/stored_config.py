"""The configuration a run was extracted with, as stored, and its differences from a new one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from geodiag.checkpoints import fingerprint
from geodiag.common import __version__
from geodiag.extraction.measurements.geometry.run import GeometryRun

SETTING_KEYS = (
    "rank",
    "energy",
    "energy_of",
    "lambda",
    "spectrum",
    "families",
    "layers",
    "updates",
    "memory",
)
"""The keys of a run's config that decide its numbers; runs compare only where these are equal."""


SELECTION_KEYS = ("families", "layers", "updates", "memory")
"""Keys that decide which layers and which updates every measurement looks at."""
VALUES_0_1_0: dict[str, Any] = {}
"""Values that geodiag 0.1.0 worked with in settings that came later, by key: what a stored configuration without the
key means."""


def run_config(geometry: GeometryRun) -> dict[str, Any]:
    """Every setting of an extraction, and the fingerprints of what it reads, as one JSON object."""
    run = geometry.run
    manifest, folder = run.plan.manifest, run.plan.manifest.path.parent
    return geometry.settings.to_config() | {
        "updates": manifest.updates,
        "memory": manifest.memory,
        "tasks": list(manifest.tasks),
        "labels": {step.task: step.label for step in manifest.steps},
        "left_out": len(run.table.left_out),
        "checkpoints": {_name(path, folder): fingerprint(c) for path, c in run.checkpoints.items()},
    }


def changed_settings(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """`rank 32 -> 16` for every setting that differs; empty where the numbers would be the same."""
    before = VALUES_0_1_0 | dict(stored)
    return [
        f"{key} {_shown(before.get(key))} -> {_shown(wanted[key])}"
        for key in SETTING_KEYS
        if before.get(key) != wanted[key]
    ]


def changed_inputs(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What of the run itself differs from what the store was made of; added steps are no difference."""
    before, now = list(stored.get("tasks", [])), list(wanted["tasks"])
    if now[: len(before)] != before:
        return [f"tasks {', '.join(before)} -> {', '.join(now)}"]
    was, new = dict(stored.get("checkpoints", {})), wanted["checkpoints"]
    return [f"checkpoint {name} has changed" for name in was if name in new and new[name] != was[name]]


def staging_key(config: Mapping[str, Any]) -> str:
    """A name for work in progress that only the same inputs, settings and version give again."""
    text = json.dumps([__version__, config], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _name(path: Any, folder: Any) -> str:
    """Relative to the manifest where it can be: a run that was moved as a whole is the same run."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
