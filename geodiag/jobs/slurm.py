"""An extraction as Slurm jobs: an array of shards on a shared folder, and a last job that finishes what they left."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geodiag.common.stopping import GRACE
from geodiag.common.text import counted
from geodiag.errors import SettingsError
from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.extraction.measurements.gradients.plan import GradientOptions
from geodiag.jobs.shards import Shard
from geodiag.runs import find_manifests, load_manifest
from geodiag.store import create_store

LOGS = Path(".staging") / "slurm"
"""Where scripts and logs of jobs lie in a store."""
INSTALL_SLURM = 'pip install "geodiag[slurm]"'
RESUBMISSIONS = 100
"""How often a job that runs out of time puts itself back into the queue; each time it goes on from finished layers."""
WARNING = 30
"""Seconds before its time limit that a job is told."""


@dataclass(frozen=True)
class SlurmOptions:
    """How the jobs are asked for."""

    shards: int = 4
    """Jobs of the array."""
    partition: str | None = None
    """Where they run; None is Slurm's default."""
    minutes: int = 60
    """The time limit of one job; it goes on in another one when it runs out."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Parameters of sbatch by name, such as `account` or `mem`; they win."""

    def __post_init__(self) -> None:
        if self.shards < 1:
            raise SettingsError(f"shards is {self.shards}", where="--shards", fix="a whole number from 1")


@dataclass(frozen=True)
class Submission:
    """The jobs that were submitted."""

    jobs: Mapping[str, str]
    """What each is for, by its id."""
    logs: Path

    def lines(self) -> list[str]:
        """For a person."""
        ids = ",".join(self.jobs)
        return [
            *(f"submitted {job}: {what}" for job, what in self.jobs.items()),
            f"logs: {self.logs}; look with `squeue -j {ids}`, stop with `scancel {ids.replace(',', ' ')}`",
        ]


@dataclass(frozen=True)
class Command:
    """What one job runs; put back into the queue, it runs the same again."""

    arguments: tuple[str, ...]
    """Behind `geodiag`."""

    def __call__(self) -> None:
        """Runs it and ends with its exit code.

        Where this process is told to leave meanwhile, as by the handler that puts a job back into the queue, it waits
        until the command has stopped too, has said so and let go of its locks. `subprocess.call` would kill it there.

        Raises:
            SystemExit: it did not end with 0, so that Slurm counts the job as failed.
        """
        with subprocess.Popen([sys.executable, "-m", "geodiag", *self.arguments]) as command:
            try:
                code = command.wait()
            except BaseException:
                _stop(command)
                raise
        if code:
            raise SystemExit(code if code > 0 else 128 - code)

    def checkpoint(self) -> Any:
        """What to run after a time limit or a preemption: finished layers are on disk, so just the same."""
        return _submitit().helpers.DelayedSubmission(self)


def submit_extraction(
    runs: Path,
    store: Path,
    settings: GeometrySettings,
    slurm: SlurmOptions,
    *,
    geometry: bool = True,
    gradients: GradientOptions | None = None,
    **options: Any,
) -> Submission:
    """Submits an extraction: an array of shards, a job behind them that finishes the store, then the gradients.

    Args:
        runs: a folder of runs, a run's folder, or a `run.yaml`, seen by every node.
        store: the store, seen by every node.
        settings: what to compute.
        slurm: how the jobs are asked for.
        geometry: whether geometry is extracted.
        gradients: the probes' options, where gradients are measured: in an array by runs.
        options: of `extract_arguments`.

    Raises:
        GeodiagError: there is no run or one is wrong, submitit or Slurm is not there, or Slurm refuses.
    """
    manifests = [load_manifest(path) for path in find_manifests(runs)]
    arguments = extract_arguments(runs, store, settings, gradients=gradients, **options)
    create_store(store)
    executor = _executor(store, slurm, device=str(options["device"]))
    jobs: dict[str, str] = {}
    if geometry:
        job = _submit(executor, [(*arguments, *_share(n, slurm.shards)) for n in range(slurm.shards)], after=None)
        jobs[job] = f"{counted(slurm.shards, 'shard')} of {counted(len(manifests), 'run')}"
        job = _submit(executor, [(*arguments, *_share(0, 1))], after=job)
        jobs[job] = "what they leave, and the summary"
    if gradients is not None:
        count, only = min(slurm.shards, len(manifests)), "--gradients-only"
        after = next(reversed(jobs), None)
        job = _submit(executor, [(*arguments, only, *_share(n, count)) for n in range(count)], after=after)
        jobs[job] = f"gradients in {counted(count, 'shard')}"
    return Submission(jobs, store.absolute() / LOGS)


def extract_arguments(
    runs: Path,
    store: Path,
    settings: GeometrySettings,
    *,
    device: str,
    memory: int | None,
    reading: str,
    overwrite: bool,
    gradients: GradientOptions | None,
) -> list[str]:
    """The command line of an extraction, behind `geodiag`, with every setting written out."""
    given = {f.name.replace("_", "-"): getattr(settings, f.name) for f in dataclasses.fields(settings)}
    given["lambda"], given["families"] = given.pop("lam"), ",".join(settings.families)
    given |= {"store": store.absolute(), "device": device, "memory-budget": memory, "read": reading}
    given["probes-per-task"] = None if gradients is None else gradients.probes_per_task
    options = [part for name, value in given.items() if value is not None for part in (f"--{name}", str(value))]
    return ["extract", str(runs.absolute()), *options, *(["--overwrite"] if overwrite else [])]


def check_engine(name: str) -> str:
    """Where the work is done: `local` or `slurm`.

    Raises:
        SettingsError: it is neither.
    """
    if name not in ("local", "slurm"):
        raise SettingsError(f"engine is {name!r}", where="--engine", fix="one of local, slurm")
    return name


def parse_minutes(text: str) -> int:
    """A time limit as Slurm takes it, `90`, `1:30:00`, `2-12` or `2-12:30:00`, in minutes, rounded up.

    Raises:
        SettingsError: it is none of these, or nothing.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if found:
        days, *parts = (int(part) if part else 0 for part in found.groups())
        given = sum(part is not None for part in found.groups()[1:])
        # Behind days stand hours first; without them one or two numbers are minutes and seconds.
        hours, minutes, seconds = parts if found[1] or given == 3 else (0, parts[0], parts[1])
        total = days * 1440 + hours * 60 + minutes + -(-seconds // 60)
        if total:
            return total
    raise SettingsError(f"time is {text!r}", where="--time", fix="write it as 90, 1:30:00 or 2-12:00:00")


def parse_extra(pairs: Iterable[str]) -> dict[str, str]:
    """`account=lab` and the like, by name.

    Raises:
        SettingsError: one is not of that form.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.lstrip("-").partition("=")
        if not (name and equals and value):
            raise SettingsError(f"{pair!r} is no parameter of sbatch", where="--slurm", fix="write account=lab")
        found[name.replace("_", "-")] = value
    return found


def _stop(command: subprocess.Popen[bytes]) -> None:
    """Waits until a `geodiag` command that was told to stop has stopped.

    Slurm signals every process of a step, so the command has been told as well; only where it has not, it is told here.
    """
    for tell in (command.terminate, command.kill):
        try:
            command.wait(GRACE + 1)  # within GRACE it ends itself, by force if need be
            return
        except subprocess.TimeoutExpired:
            tell()


def _share(n: int, count: int) -> tuple[str, str]:
    return "--shard", str(Shard(n + 1, count))


def _executor(store: Path, slurm: SlurmOptions, *, device: str) -> Any:
    if device not in ("auto", "cpu", "cuda"):
        fix = "one of auto, cpu, cuda: every job on cuda gets one GPU of its own"
        raise SettingsError(f"device is {device!r}", where="--engine slurm", fix=fix)
    try:
        executor = _submitit().SlurmExecutor(store.absolute() / LOGS, max_num_timeout=RESUBMISSIONS)
    except RuntimeError as error:
        fix = "run this where Slurm's commands are, or use --shard with another scheduler"
        raise SettingsError("there is no srun here", where="--engine slurm", fix=fix) from error
    asked: dict[str, Any] = {"gpus_per_node": 1} if device == "cuda" else {}
    asked |= {"partition": slurm.partition} if slurm.partition else {}
    executor.update_parameters(
        job_name="geodiag",
        time=slurm.minutes,
        signal_delay_s=WARNING,
        stderr_to_stdout=True,
        array_parallelism=slurm.shards,
        additional_parameters={"requeue": True, **slurm.extra},
        **asked,
    )
    return executor


def _submit(executor: Any, commands: Sequence[tuple[str, ...]], *, after: str | None) -> str:
    """Submits one job or an array and returns its id."""
    executor.update_parameters(dependency=None if after is None else f"afterany:{after}")
    try:
        with executor.batch():
            jobs = [executor.submit(Command(arguments)) for arguments in commands]
        job = str(jobs[0].job_id)
    except (_submitit().core.utils.FailedJobError, _submitit().core.utils.FailedSubmissionError, OSError) as error:
        told = re.findall(r"error: *(.+)", str(error)) or [type(error).__name__]
        what = f"Slurm refuses: {told[-1].strip()}"
        raise SettingsError(what, where="--engine slurm", fix="mend --partition, --time or --slurm") from error
    return job.split("_")[0]


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise SettingsError("submitit is not installed", where="--engine slurm", fix=INSTALL_SLURM) from error
    return submitit
