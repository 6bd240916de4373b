"""Manifests on disk: finding, reading and checking `run.yaml` files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from geodiag.errors import GeodiagError, ManifestError, ScoresError
from geodiag.runs.draft import unfilled
from geodiag.runs.findings import MANIFEST_CHECKS, OWN_FIELDS, known_keys, schema_findings, shown, unknown_key
from geodiag.runs.manifest import Manifest
from geodiag.runs.scores.loading import RunScores, read_scores
from geodiag.runs.yaml_source import read_yaml

FILE_NAME = "run.yaml"
"""The name of a manifest."""


@dataclass(frozen=True)
class RunCheck:
    """A manifest and its scores, each read once, with everything that is wrong with them."""

    manifest: Manifest | None
    """The manifest; None where the file is no manifest."""
    scores: RunScores | None
    """Its scores; None where there are errors."""
    errors: tuple[GeodiagError, ...]
    """What is wrong, in the order of the checks; the scores are read once the manifest itself is in order."""


def load_manifest(path: Path) -> Manifest:
    """Read and check the manifest of one run.

    Args:
        path: the `run.yaml`, or the folder that holds it.

    Returns:
        The manifest, with every path absolute and every file named in it present.

    Raises:
        ManifestError: the first thing that is wrong; `check_manifest` gives them all.
    """
    manifest, errors = _read(_manifest_file(Path(path)))
    if manifest is None or errors:
        raise errors[0]
    return manifest


def check_run(path: Path) -> RunCheck:
    """Check a run's manifest and its scores, without reading a checkpoint.

    Args:
        path: the `run.yaml`, or the folder that holds it.
    """
    try:
        manifest, errors = _read(_manifest_file(Path(path)))
        if manifest is None or errors:
            return RunCheck(manifest, None, tuple(errors))
    except ManifestError as error:
        return RunCheck(None, None, (error,))
    try:
        return RunCheck(manifest, read_scores(manifest), ())
    except ScoresError as error:
        return RunCheck(manifest, None, (error,))


def check_manifest(path: Path) -> list[GeodiagError]:
    """Everything that is wrong with a run's manifest and its scores, without reading a checkpoint.

    Args:
        path: the `run.yaml`, or the folder that holds it.

    Returns:
        The errors in the order of the checks; empty when there are none. The scores are read once the
        manifest itself is in order.
    """
    return list(check_run(path).errors)


def find_manifests(root: Path) -> list[Path]:
    """Every `run.yaml` at or below a folder, sorted; links are followed, hidden folders are not entered.

    Args:
        root: a folder of runs, one run's folder, or a manifest itself.

    Raises:
        ManifestError: there is no such place, or no manifest in it.
    """
    root = Path(root)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise ManifestError("no such file or folder", where=root, fix=f"give a folder with a {FILE_NAME} in it")
    manifests, seen = [], set()
    for folder, below, _ in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back up, or two links to one folder
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        file = Path(folder, FILE_NAME)
        if file.is_file():
            manifests.append(file)
    if not manifests:
        fix = "`geodiag init FOLDER` drafts one from a folder of checkpoints"
        raise ManifestError(f"no {FILE_NAME} here or below", where=root, fix=fix)
    return sorted(manifests)


def _manifest_file(path: Path) -> Path:
    path = Path(os.path.abspath(path))
    file = path / FILE_NAME if path.is_dir() else path
    if file.is_file():
        return file
    if (path / "run.yml").is_file():
        raise ManifestError("the manifest is named run.yml", where=path, fix=f"rename it to {FILE_NAME}")
    fix = "`geodiag init FOLDER` drafts one from a folder of checkpoints"
    raise ManifestError("there is no such manifest", where=file, fix=fix)


def _read(path: Path) -> tuple[Manifest | None, list[ManifestError]]:
    source = read_yaml(path)
    if not isinstance(source.data, dict):
        problem = f"the file is {shown(source.data)} where keys belong"
        return None, [ManifestError(problem, where=source.where(), fix="start with `run: an-id`")]
    to_fill_in = unfilled(source)
    if to_fill_in is not None:  # every other error follows from it, or can wait
        return None, [to_fill_in]
    manifest, findings = None, []
    for key in OWN_FIELDS:
        if key in source.data:  # a field that the file itself cannot give
            findings.append(unknown_key((key,), known_keys(Manifest)))
    data = {str(key): value for key, value in source.data.items()} | {"path": source.path}
    try:
        manifest = Manifest.model_validate(data, context={"folder": source.path.parent})
        for check in MANIFEST_CHECKS:
            findings += check(manifest)
    except ValidationError as error:
        findings += schema_findings(error, source)
    return manifest, [finding.error(source) for finding in findings]
