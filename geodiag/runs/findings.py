"""Findings in a manifest: schema errors, repeated names and missing files, with line numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from geodiag.common.remote import RemotePath
from geodiag.errors import ManifestError
from geodiag.runs.manifest import Manifest, ProbeEncoding, Step
from geodiag.runs.yaml_source import KeyPath, YamlSource

OWN_FIELDS = ("path", "probe_encoding")
"""Fields of a manifest that are no keys of the file."""
_UNKNOWN = ("extra_forbidden", "invalid_key")


@dataclass(frozen=True)
class Finding:
    """One error in a manifest and the value that it is about."""

    place: KeyPath
    """The path to the value: keys and list positions from the root."""
    problem: str
    """The error, as a clause."""
    fix: str | None = None
    """The remedy, as a clause."""

    def error(self, source: YamlSource) -> ManifestError:
        """The finding as an error that names the file, the line and the step."""
        step = self.place[1] if len(self.place) > 1 and self.place[0] == "steps" else None
        number = step + 1 if isinstance(step, int) else None
        return ManifestError(self.problem, where=source.where(self.place), step=number, fix=self.fix)


def schema_findings(error: ValidationError, source: YamlSource) -> list[Finding]:
    """The errors of pydantic's validation as findings, one for each value; misspelt keys come first."""
    findings: dict[KeyPath, Finding] = {}
    # A misspelt key is reported as missing too, and its spelling has to be corrected first.
    details = sorted(error.errors(include_url=False), key=lambda detail: detail["type"] not in _UNKNOWN)
    for detail in details:
        # A union appends the branches that it tried to the path: only steps and probes have values inside.
        loc = ("probes", *detail["loc"][1:]) if detail["loc"][:1] == ("probe_encoding",) else detail["loc"]
        inside = {"steps": 3, "probe_encoding": 2}.get(str(detail["loc"][0]) if detail["loc"] else "", 1)
        place = loc[:inside]
        findings.setdefault(place, _finding(place, detail, source))
    return list(findings.values())


def unknown_key(place: KeyPath, keys: list[str]) -> Finding:
    """The finding of a key that the file may not have.

    Args:
        place: the path to the key.
        keys: the keys that it may have, of which the nearest is offered.
    """
    key = str(place[-1])
    near = get_close_matches(key.lower(), keys, n=1)
    fix = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(keys)}"
    return Finding(place, f"unknown key {key!r}", fix)


def known_keys(model: type[BaseModel]) -> list[str]:
    """The keys of a model in a YAML file, in their order."""
    return [field.alias or name for name, field in model.model_fields.items() if name not in OWN_FIELDS]


def _finding(place: KeyPath, detail: Mapping[str, Any], source: YamlSource) -> Finding:
    inner: dict[Any, type[BaseModel]] = {"steps": Step, "probes": ProbeEncoding}
    model = inner[place[0]] if len(place) > 1 else Manifest
    kind, value = detail["type"], detail["input"]
    if kind in _UNKNOWN:
        keys = known_keys(model)
        return unknown_key(place, ["file", *keys] if model is ProbeEncoding else keys)
    if len(place) == 2 and place[0] == "steps":
        return Finding(place, f"a step is {shown(value)}", "write `{task: ..., state: ...}`")
    key, meaning = str(place[-1]), _description(model, str(place[-1]))
    if kind == "missing":
        return Finding(place[:-1], f"key {key!r} is missing", f"give {meaning}")
    written = source.written(place)
    if written and not isinstance(value, str) and kind == "string_type":
        return Finding(place, f"{key!r} is {shown(value)}, not text", f'put it in quotes: {key}: "{written}"')
    return Finding(place, f"{key!r} is {shown(value)}", f"give {meaning}")


def _description(model: type[BaseModel], key: str) -> str:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    return fields[key].description or ""


def shown(value: object) -> str:
    """A value as an error message shows it: its kind, and its text when that is short."""
    match value:
        case None:
            return "empty"
        case bool():
            return f"the truth value {str(value).lower()}"
        case int() | float():
            return f"the number {str(value)[:60]}"
        case str():
            return repr(value if len(value) <= 60 else value[:57] + "...") if value.strip() else "empty"
        case list() | tuple():
            return "an empty list" if not value else "a list"
        case _:
            return "a group of keys"


def repeated_tasks(manifest: Manifest) -> Iterator[Finding]:
    """A task trained at two steps: its updates and its scores would have the same name."""
    first: dict[str, int] = {}
    for number, step in enumerate(manifest.steps):
        if step.task in first:
            problem = f"task {step.label!r} is already the task of step {first[step.task] + 1}"
            fix = "task names differ in more than case, spaces, - and _"
            yield Finding(("steps", number, "task"), problem, fix)
        first.setdefault(step.task, number)


def missing_experts(manifest: Manifest) -> Iterator[Finding]:
    """Steps without an expert in a run whose updates come from experts."""
    if manifest.updates != "experts":
        return
    for number, step in enumerate(manifest.steps):
        if step.expert is None:
            problem = f"key 'expert' is missing, but the run says `updates: experts` (task {step.label!r})"
            yield Finding(("steps", number), problem, "name the expert's checkpoint, or say `updates: increments`")


def repeated_checkpoints(manifest: Manifest) -> Iterator[Finding]:
    """One checkpoint given for two steps."""
    for key in ("state", "expert"):
        first: dict[Path, int] = {}
        for number, step in enumerate(manifest.steps):
            path = getattr(step, key)
            if path in first:
                problem = f"{key!r} is the same checkpoint as at step {first[path] + 1} ({path})"
                yield Finding(("steps", number, key), problem, "each step has its own")
            elif path is not None:
                first[path] = number


def missing_paths(manifest: Manifest) -> Iterator[Finding]:
    """Files and folders that the manifest names and that do not exist."""
    named: list[tuple[tuple[str | int, ...], Path | None]] = [
        (("base",), manifest.base),
        (("scores",), manifest.scores),
        (("probes",), manifest.probes),
    ]
    named.append((("probes", "tokenizer"), manifest.probe_encoding.tokenizer))
    for number, step in enumerate(manifest.steps):
        named += [(("steps", number, "state"), step.state), (("steps", number, "expert"), step.expert)]
    for place, path in named:
        # A remote checkpoint is checked when it is opened, with an error of its own.
        if path is not None and not isinstance(path, RemotePath) and not os.path.exists(path):
            yield Finding(place, f"{place[-1]!r}: no such file or folder: {path}", _nearby(manifest, path))
    if manifest.probes is not None and manifest.probes.is_dir():
        yield Finding(("probes",), f"'probes' is a folder: {manifest.probes}", "name a JSONL or Parquet file")


MANIFEST_CHECKS: tuple[Callable[[Manifest], Iterator[Finding]], ...] = (
    repeated_tasks,
    missing_experts,
    repeated_checkpoints,
    missing_paths,
)
"""Every check of a well-formed manifest, in the order of their findings."""


def check_unique_runs(manifests: Sequence[Manifest]) -> list[ManifestError]:
    """Run ids that two manifests share; a store keeps one run an id.

    Args:
        manifests: the manifests whose runs one store will hold.

    Returns:
        One error for each manifest whose id an earlier one has; empty when all differ.
    """
    first: dict[str, Path] = {}
    errors = []
    for manifest in manifests:
        if manifest.run in first:
            problem = f"run id {manifest.run!r} is taken by {first[manifest.run]}"
            errors.append(ManifestError(problem, where=manifest.path, fix="give each run its own id"))
        first.setdefault(manifest.run, manifest.path)
    return errors


def _nearby(manifest: Manifest, path: Path) -> str:
    """The remedy for a missing path: a similar name in its folder, or the folder that paths are relative to."""
    try:
        names = os.listdir(path.parent)
    except OSError:
        names = []
    near = get_close_matches(path.name, names, n=1, cutoff=0.7)
    return f"did you mean {near[0]!r}?" if near else f"paths are relative to {manifest.path.parent}"
