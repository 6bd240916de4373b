"""Extraction and validation of many runs, each on its own: one that fails costs only itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geodiag.checkpoints import Reading
from geodiag.common.problems import as_problem
from geodiag.common.schema import FAMILIES
from geodiag.common.text import counted
from geodiag.errors import GeodiagError, SettingsError
from geodiag.extraction.measurements import MEASUREMENTS, Measurement
from geodiag.extraction.measurements.geometry.run import prepare_geometry
from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.extraction.run import PreparedRun, adapter_notes, prepare_run
from geodiag.geometry.numerics import pick_device
from geodiag.jobs.events import BatchReport, Outcome, Progress, RunOutcome, Silent, combined_outcome, failed_run
from geodiag.jobs.machine import default_budget
from geodiag.jobs.measure import store_measurement
from geodiag.jobs.run import store_run
from geodiag.jobs.shards import Shard
from geodiag.jobs.stored_config import run_config
from geodiag.runs import Manifest, RunScores, check_run, check_unique_runs, find_manifests, load_manifest


@dataclass(frozen=True, kw_only=True)
class Work:
    """An extraction to be made: what is measured, how, and into which store."""

    store: Path
    """The store's folder; made when it is not there."""
    measured: tuple[str, ...] = ("geometry",)
    """Names of measurements."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Options by measurement; those of one that is not named are its defaults."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:<n>`."""
    memory: int | None = None
    """Bytes that updates or gradients may take on the device at once; None is half of what is free there."""
    overwrite: bool = False
    """Replace what the store holds with other settings or inputs, of the measurements named."""
    strict: bool = False
    """Stop at the first run that fails instead of going on with the rest."""
    reading: Reading = "mmap"
    """How weights are read from local disks, `mmap` or `buffered` (network file systems)."""
    shard: Shard | None = None
    """One part of the work, beside other processes that do theirs on the same folders."""

    @property
    def measurements(self) -> list[Measurement]:
        """Those named, in the order in which they are made."""
        return [measurement for measurement in MEASUREMENTS if measurement.name in self.measured]

    def options(self, measurement: Measurement) -> Any:
        """The options of a measurement."""
        return self.settings.get(measurement.name) or measurement.options()

    @property
    def geometry(self) -> GeometrySettings:
        """The settings of the geometry, which also select the layers of every measurement."""
        return self.settings.get("geometry") or GeometrySettings()


def extract_all(runs: Path, work: Work, *, progress: Progress | None = None) -> BatchReport:
    """Extracts every run below a folder into a store.

    Args:
        runs: a folder of runs, a run's folder, or a `run.yaml`.
        work: what is measured, and how.
        progress: told of what happens.

    Raises:
        GeodiagError: there is no run, the device does not exist, or `strict` is set and a run failed.
    """
    progress = progress or Silent()
    outcomes: list[RunOutcome] = []
    manifests: list[Manifest] = []
    for path in _share(find_manifests(runs), work):
        outcomes.append(_attempt(work, path, manifests, progress))
        error = outcomes[-1].error
        if work.strict and error is not None:
            raise error
    return BatchReport(tuple(outcomes))


def _share(paths: list[Path], work: Work) -> list[Path]:
    """The runs to work on; a measurement that is not divided inside a run divides the runs."""
    whole = [measurement for measurement in work.measurements if measurement.divided == "runs"]
    if work.shard is None or not whole:
        return paths
    if len(work.measurements) > 1:
        raise SettingsError(
            f"{whole[0].name} are measured on stored runs, and shards store a run only when the last of them is done",
            where="--shard",
            fix=f"extract without {whole[0].added_by} first, then with {whole[0].alone_by}, which takes --shard too",
        )
    return paths[work.shard.index - 1 :: work.shard.count]


def _attempt(work: Work, path: Path, manifests: list[Manifest], progress: Progress) -> RunOutcome:
    """One run, whatever becomes of it; `manifests` gains its manifest, so that its id is used once."""
    name = str(path)
    try:
        manifest = load_manifest(path)
        name = manifest.run
        manifests.append(manifest)
        if twice := [error for error in check_unique_runs(manifests) if error.where == path]:
            raise twice[0]
        outcome = combined_outcome(list(_measured(work, manifest, progress)))
        return RunOutcome(name, outcome.status, outcome.detail)
    except Exception as cause:
        again = "then run the same command again: what was finished is kept"
        problem = as_problem(cause, where=work.store, run=name, again=again, less="give a smaller --memory-budget")
        return failed_run(name, problem)
    finally:
        progress.run_ended(name)


def _measured(work: Work, manifest: Manifest, progress: Progress) -> Iterator[Outcome]:
    """What every measurement did to one run."""
    memory = default_budget(pick_device(work.device)) if work.memory is None else work.memory
    settings = work.geometry
    geometry = prepare_geometry(manifest, settings, device=work.device, memory=memory, reading=work.reading)
    for measurement in work.measurements:
        if measurement.founds_run:
            yield store_run(geometry, work.store, overwrite=work.overwrite, shard=work.shard, progress=progress)
            continue
        options = work.options(measurement)
        plan = measurement.plan(geometry.run, options, selection=settings, strict=work.strict)
        yield store_measurement(
            measurement,
            plan,
            work.store,
            run=manifest.run,
            config=run_config(geometry),
            overwrite=work.overwrite,
            shard=work.shard,
            progress=progress,
        )


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
