"""What a well-formed manifest may still get wrong: tasks named twice, files that are not there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from geodiag.errors import ManifestError
from geodiag.remote import RemotePath
from geodiag.runs.findings import Finding
from geodiag.runs.manifest import Manifest


def repeated_tasks(manifest: Manifest) -> Iterator[Finding]:
    """A task trained at two steps: its update and its scores could not be told apart."""
    first: dict[str, int] = {}
    for number, step in enumerate(manifest.steps):
        if step.task in first:
            what = f"task {step.label!r} is already the task of step {first[step.task] + 1}"
            fix = "task names differ in more than case, spaces, - and _"
            yield Finding(("steps", number, "task"), what, fix)
        first.setdefault(step.task, number)


def missing_experts(manifest: Manifest) -> Iterator[Finding]:
    """Steps without an expert in a run whose updates come from experts."""
    if manifest.updates != "experts":
        return
    for number, step in enumerate(manifest.steps):
        if step.expert is None:
            what = f"key 'expert' is missing, but the run says `updates: experts` (task {step.label!r})"
            yield Finding(("steps", number), what, "name the expert's checkpoint, or say `updates: increments`")


def repeated_checkpoints(manifest: Manifest) -> Iterator[Finding]:
    """One checkpoint given for two steps: a line copied and not changed."""
    for key in ("state", "expert"):
        first: dict[Path, int] = {}
        for number, step in enumerate(manifest.steps):
            path = getattr(step, key)
            if path in first:
                what = f"{key!r} is the same checkpoint as at step {first[path] + 1} ({path})"
                yield Finding(("steps", number, key), what, "each step has its own")
            elif path is not None:
                first[path] = number


def missing_paths(manifest: Manifest) -> Iterator[Finding]:
    """Files and folders that the manifest names and that are not there."""
    named = [(("base",), manifest.base), (("scores",), manifest.scores), (("probes",), manifest.probes)]
    for number, step in enumerate(manifest.steps):
        named += [(("steps", number, "state"), step.state), (("steps", number, "expert"), step.expert)]  # type: ignore[list-item]
    for place, path in named:
        # A remote checkpoint is looked for when it is opened, which says what is wrong with it.
        if path is not None and not isinstance(path, RemotePath) and not os.path.exists(path):
            yield Finding(place, f"{place[-1]!r}: no such file or folder: {path}", _nearby(manifest, path))
    if manifest.probes is not None and manifest.probes.is_dir():
        yield Finding(("probes",), f"'probes' is a folder: {manifest.probes}", "name a JSONL or Parquet file")


CHECKS: tuple[Callable[[Manifest], Iterator[Finding]], ...] = (
    repeated_tasks,
    missing_experts,
    repeated_checkpoints,
    missing_paths,
)
"""Every check of a well-formed manifest, in the order in which their findings are told."""


def check_unique_runs(manifests: Sequence[Manifest]) -> list[ManifestError]:
    """Run ids that two manifests share; a store keeps one run an id.

    Args:
        manifests: the manifests that are to go into one store.

    Returns:
        One error for each manifest whose id an earlier one has; empty when all differ.
    """
    first: dict[str, Path] = {}
    errors = []
    for manifest in manifests:
        if manifest.run in first:
            what = f"run id {manifest.run!r} is taken by {first[manifest.run]}"
            errors.append(ManifestError(what, where=manifest.path, fix="give each run its own id"))
        first.setdefault(manifest.run, manifest.path)
    return errors


def _nearby(manifest: Manifest, path: Path) -> str:
    """The name of a neighbour that may have been meant, or what paths are relative to."""
    try:
        names = os.listdir(path.parent)
    except OSError:
        names = []
    near = get_close_matches(path.name, names, n=1, cutoff=0.7)
    return f"did you mean {near[0]!r}?" if near else f"paths are relative to {manifest.path.parent}"
