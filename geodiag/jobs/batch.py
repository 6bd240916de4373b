"""Many runs: each on its own, so that one that fails costs only itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geodiag.checkpoints import Reading
from geodiag.errors import SettingsError, as_problem
from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.extraction.measurements.gradients.plan import GradientOptions
from geodiag.extraction.run import RunExtraction, pick_device, prepare
from geodiag.jobs.events import BatchReport, Outcome, Progress, RunOutcome, Silent, combined_outcome, failed_run
from geodiag.jobs.memory import default_budget
from geodiag.jobs.run import store_run
from geodiag.jobs.shards import Shard
from geodiag.runs import Manifest, check_unique_runs, find_manifests, load_manifest


def extract_all(
    runs: Path,
    store: Path,
    settings: GeometrySettings,
    *,
    device: str = "auto",
    memory: int | None = None,
    overwrite: bool = False,
    strict: bool = False,
    gradients: GradientOptions | None = None,
    geometry: bool = True,
    reading: Reading = "mmap",
    shard: Shard | None = None,
    progress: Progress | None = None,
) -> BatchReport:
    """Extracts every run below a folder into a store.

    Args:
        runs: a folder of runs, a run's folder, or a `run.yaml`.
        store: the store's folder; made when it is not there.
        settings: what to compute.
        device: `auto`, `cpu`, `cuda` or `cuda:<n>`.
        memory: bytes that full updates may take on the device at once; None is half of what is free there.
        overwrite: replace runs that the store holds with other settings or inputs.
        strict: stop at the first run that fails instead of going on with the rest.
        gradients: measure gradient conflict too, on these probes; None leaves it.
        geometry: False measures gradients only, of runs that are in the store.
        reading: how weights are read from local disks, `mmap` or `buffered` (network file systems).
        shard: do one part of the work, beside other processes that do theirs on the same folders: of geometry some
            layers of every run, of gradients alone some runs.
        progress: told of what happens.

    Raises:
        GeodiagError: there is no run, the device does not exist, or `strict` is set and a run failed.
    """
    memory = default_budget(pick_device(device)) if memory is None else memory
    told = progress or Silent()
    job = _Job(store, settings, device, memory, overwrite, strict, gradients, geometry, reading, shard, told)
    outcomes: list[RunOutcome] = []
    taken: list[Manifest] = []
    for path in _share(find_manifests(runs), job):
        outcomes.append(_attempt(job, path, taken))
        error = outcomes[-1].error
        if strict and error is not None:
            raise error
    return BatchReport(tuple(outcomes))


@dataclass(frozen=True)
class _Job:
    store: Path
    settings: GeometrySettings
    device: str
    memory: int
    overwrite: bool
    strict: bool
    gradients: GradientOptions | None
    geometry: bool
    reading: Reading
    shard: Shard | None
    progress: Progress


def _share(paths: list[Path], job: _Job) -> list[Path]:
    """The runs to work on: a state's gradients come from one pass over the whole model, so a run is not divided."""
    if job.shard is None or job.gradients is None:
        return paths
    if job.geometry:
        raise SettingsError(
            "gradients are measured on stored runs, and shards store a run only when the last of them is done",
            where="--shard",
            fix="extract without --gradients first, then with --gradients-only, which takes --shard too",
        )
    return paths[job.shard.index - 1 :: job.shard.count]


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
        did = combined_outcome(_work(job, extraction))
        return RunOutcome(name, did.status, did.detail)
    except Exception as cause:
        again = "then run the same command again: what was finished is kept"
        problem = as_problem(cause, where=job.store, run=name, again=again, less="give a smaller --memory-budget")
        return failed_run(name, problem)
    finally:
        job.progress.run_ended(name)


def _work(job: _Job, extraction: RunExtraction) -> list[Outcome]:
    did = []
    if job.geometry:
        did.append(store_run(extraction, job.store, overwrite=job.overwrite, shard=job.shard, progress=job.progress))
    if job.gradients is not None:
        from geodiag.jobs.gradients import store_gradients

        did.append(
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
    return did
