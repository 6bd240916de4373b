"""Many runs: each on its own, so that one that fails costs only itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from geodiag.checkpoints import Reading
from geodiag.errors import GeodiagError, StoreError
from geodiag.extraction import RunExtraction, Settings, prepare
from geodiag.extraction.gradients import GradientOptions
from geodiag.extraction.run import DEFAULT_MEMORY, pick_device
from geodiag.jobs.progress import Progress, Silent
from geodiag.jobs.run import store_run
from geodiag.runs import Manifest, check_unique_runs, find_manifests, load_manifest


@dataclass(frozen=True)
class RunOutcome:
    """What became of one run of a batch."""

    run: str
    """The run's id, or its manifest's path where that could not be read."""
    status: Literal["done", "unchanged", "failed"]
    detail: str
    """What was done, or the error's one line."""
    error: GeodiagError | None = None


@dataclass(frozen=True)
class BatchReport:
    """What became of every run of a batch, in order."""

    outcomes: tuple[RunOutcome, ...]

    @property
    def failed(self) -> tuple[RunOutcome, ...]:
        """The runs that are not in the store."""
        return tuple(o for o in self.outcomes if o.status == "failed")

    @property
    def exit_code(self) -> int:
        """0: all are stored. 1: some failed, the others are stored. 2: every one failed, so the input is wrong."""
        if not self.failed:
            return 0
        return 2 if len(self.failed) == len(self.outcomes) else 1


def extract_all(
    runs: Path,
    store: Path,
    settings: Settings,
    *,
    device: str = "auto",
    memory: int = DEFAULT_MEMORY,
    overwrite: bool = False,
    strict: bool = False,
    gradients: GradientOptions | None = None,
    geometry: bool = True,
    reading: Reading = "mmap",
    progress: Progress | None = None,
) -> BatchReport:
    """Extracts every run below a folder into a store.

    Args:
        runs: a folder of runs, a run's folder, or a `run.yaml`.
        store: the store's folder; made when it is not there.
        settings: what to compute.
        device: `auto`, `cpu`, `cuda` or `cuda:<n>`.
        memory: bytes that full updates may take on the device at once.
        overwrite: replace runs that the store holds with other settings or inputs.
        strict: stop at the first run that fails instead of going on with the rest.
        gradients: measure gradient conflict too, on these probes; None leaves it.
        geometry: False measures gradients only, of runs that are in the store.
        reading: how weights are read from local disks, `mmap` or `buffered` (network file systems).
        progress: told of what happens.

    Raises:
        GeodiagError: there is no run, the device does not exist, or `strict` is set and a run failed.
    """
    pick_device(device)
    job = _Job(store, settings, device, memory, overwrite, strict, gradients, geometry, reading, progress or Silent())
    outcomes: list[RunOutcome] = []
    taken: list[Manifest] = []
    for path in find_manifests(runs):
        outcomes.append(_attempt(job, path, taken))
        error = outcomes[-1].error
        if strict and error is not None:
            raise error
    return BatchReport(tuple(outcomes))


@dataclass(frozen=True)
class _Job:
    store: Path
    settings: Settings
    device: str
    memory: int
    overwrite: bool
    strict: bool
    gradients: GradientOptions | None
    geometry: bool
    reading: Reading
    progress: Progress


def _attempt(job: _Job, path: Path, taken: list[Manifest]) -> RunOutcome:
    """One run, whatever becomes of it; `taken` gains its manifest, so that its id is used once."""
    name = str(path)
    try:
        manifest = load_manifest(path)
        name = manifest.run
        taken.append(manifest)
        if twice := [error for error in check_unique_runs(taken) if error.where == path]:
            raise twice[0]
        extraction = prepare(manifest, job.settings, device=job.device, memory=job.memory, reading=job.reading)
        details = _work(job, extraction)
        same = all(detail.endswith("unchanged") for detail in details)
        return RunOutcome(name, "unchanged" if same else "done", ", ".join(details))
    except GeodiagError as error:
        return RunOutcome(name, "failed", str(error), error)
    except OSError as cause:
        problem = StoreError(f"cannot read or write: {cause}", where=job.store, run=name, fix="mend it and run again")
        problem.__cause__ = cause
        return RunOutcome(name, "failed", str(problem), problem)
    finally:
        job.progress.run_ended(name)


def _work(job: _Job, extraction: RunExtraction) -> list[str]:
    details = []
    if job.geometry:
        details.append(store_run(extraction, job.store, overwrite=job.overwrite, progress=job.progress))
    if job.gradients is not None:
        from geodiag.jobs.gradients import store_gradients

        details.append(
            store_gradients(
                extraction,
                job.store,
                job.gradients,
                memory=job.memory,
                overwrite=job.overwrite,
                strict=job.strict,
                progress=job.progress,
            )
        )
    return details
