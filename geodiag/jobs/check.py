"""`geodiag check`: everything that can be known to be wrong without computing."""

from __future__ import annotations

from pathlib import Path

from geodiag.common.families import FAMILIES
from geodiag.common.text import counted
from geodiag.errors import GeodiagError
from geodiag.extraction.run import PreparedRun, adapter_notes, prepare_run
from geodiag.jobs.events import BatchReport, RunOutcome
from geodiag.runs import (
    Manifest,
    check_manifest,
    check_unique_runs,
    find_manifests,
    load_manifest,
    load_scores,
    score_notes,
)


def check_all(runs: Path) -> BatchReport:
    """Checks manifests, scores, and from headers alone every checkpoint's layers.

    Args:
        runs: a folder of runs, a run's folder, or a `run.yaml`.

    Returns:
        For every run one outcome that says, a line each, what was matched by family, what was left out and why, and
        what a person should know of it; or one outcome for each thing that is wrong.

    Raises:
        ManifestError: there is no run.
    """
    outcomes: list[RunOutcome] = []
    taken: list[Manifest] = []
    for path in find_manifests(runs):
        outcomes += _check_one(path, taken)
    return BatchReport(tuple(outcomes))


def _check_one(path: Path, taken: list[Manifest]) -> list[RunOutcome]:
    errors: list[GeodiagError] = list(check_manifest(path))
    if errors:
        return [RunOutcome(str(path), "failed", str(error), error) for error in errors]
    manifest = load_manifest(path)
    taken.append(manifest)
    errors = [error for error in check_unique_runs(taken) if error.where == path]
    try:
        run = prepare_run(manifest, families=FAMILIES, device="cpu")
    except GeodiagError as error:
        errors.append(error)
    if errors:
        return [RunOutcome(manifest.run, "failed", str(error), error) for error in errors]
    return [RunOutcome(manifest.run, "checked", "\n  ".join(_told(run)))]


def _told(run: PreparedRun) -> list[str]:
    manifest, (first, *more) = run.plan.manifest, run.table.lines
    notes = [*adapter_notes(run), *score_notes(manifest, load_scores(manifest))]
    return [
        f"{counted(len(manifest.steps), 'step')}; {first}",
        *more,
        *(f"note: {note.removeprefix(f'run {manifest.run}: ')}" for note in notes),
    ]
