"""`geodiag check`: everything that can be known to be wrong without computing."""

from __future__ import annotations

from pathlib import Path

from geodiag.common.families import FAMILIES
from geodiag.common.text import counted
from geodiag.errors import GeodiagError
from geodiag.extraction.run import PreparedRun, adapter_notes, prepare_run
from geodiag.jobs.events import BatchReport, RunOutcome, failed_run
from geodiag.runs import Manifest, RunScores, check_run, check_unique_runs, find_manifests


def check_all(runs: Path) -> BatchReport:
    """Checks manifests, scores, and from headers alone every checkpoint's layers.

    Args:
        runs: a folder of runs, a run's folder, or a `run.yaml`.

    Returns:
        One outcome a run. Of a run in order its detail says, a line each, what was matched by family, what was left
        out and why, and what a person should know of it; of any other its errors are everything that is wrong.

    Raises:
        ManifestError: there is no run.
    """
    checked: list[Manifest] = []
    return BatchReport(tuple(_check_one(path, checked) for path in find_manifests(runs)))


def _check_one(path: Path, checked: list[Manifest]) -> RunOutcome:
    """One run; `checked` gains its manifest, so that its id is used once."""
    run = check_run(path)
    if run.manifest is None or run.scores is None:
        return failed_run(str(path), *run.errors)
    checked.append(run.manifest)
    errors: list[GeodiagError] = [error for error in check_unique_runs(checked) if error.where == path]
    try:
        prepared = prepare_run(run.manifest, families=FAMILIES, device="cpu")
    except GeodiagError as error:
        errors.append(error)
    if errors:
        return failed_run(run.manifest.run, *errors)
    return RunOutcome(run.manifest.run, "checked", "\n  ".join(_summary(prepared, run.scores)))


def _summary(run: PreparedRun, scores: RunScores) -> list[str]:
    manifest, (first, *more) = run.plan.manifest, run.table.lines
    return [
        f"{counted(len(manifest.steps), 'step')}; {first}",
        *more,
        *(f"note: {note.removeprefix(f'run {manifest.run}: ')}" for note in (*adapter_notes(run), *scores.notes)),
    ]
