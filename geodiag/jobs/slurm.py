"""An extraction as Slurm jobs: an array of shards on a shared folder, and a last job that finishes what they left."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geodiag.common.stopping import GRACE
from geodiag.common.text import counted
from geodiag.errors import SettingsError
from geodiag.extraction.measurements import Measurement
from geodiag.jobs.batch import Work
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
            *(f"submitted {job}: {message}" for job, message in self.jobs.items()),
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
    runs: Path, work: Work, slurm: SlurmOptions, *, arguments: Callable[[Measurement], Sequence[str]]
) -> Submission:
    """Submits an extraction: an array of shards a measurement, and a job behind it that finishes what they left.

    Args:
        runs: a folder of runs, a run's folder, or a `run.yaml`, seen by every node.
        work: what is measured; its store is seen by every node.
        slurm: how the jobs are asked for.
        arguments: the command line behind `geodiag` that makes one of its measurements.

    Raises:
        GeodiagError: there is no run or one is wrong, submitit or Slurm is not there, or Slurm refuses.
    """
    manifests = [load_manifest(path) for path in find_manifests(runs)]
    create_store(work.store)
    executor = _executor(work.store, slurm, device=work.device)
    jobs: dict[str, str] = {}
    for measurement in work.measurements:
        command = arguments(measurement)
        divided = slurm.shards if measurement.divided == "parts" else min(slurm.shards, len(manifests))
        after = next(reversed(jobs), None)
        job = _submit(executor, [(*command, *_share(n, divided)) for n in range(divided)], after=after)
        jobs[job] = (
            f"{counted(divided, 'shard')} of {counted(len(manifests), 'run')}"
            if measurement.founds_run
            else f"{measurement.name} in {counted(divided, 'shard')}"
        )
        if measurement.divided == "parts":
            job = _submit(executor, [(*command, *_share(0, 1))], after=job)
            jobs[job] = "what they leave, and the summary"
    return Submission(jobs, work.store.absolute() / LOGS)


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
    values = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if values:
        days, *parts = (int(part) if part else 0 for part in values.groups())
        given = sum(part is not None for part in values.groups()[1:])
        # Behind days stand hours first; without them one or two numbers are minutes and seconds.
        hours, minutes, seconds = parts if values[1] or given == 3 else (0, parts[0], parts[1])
        total = days * 1440 + hours * 60 + minutes + -(-seconds // 60)
        if total:
            return total
    raise SettingsError(f"time is {text!r}", where="--time", fix="write it as 90, 1:30:00 or 2-12:00:00")


def parse_extra(pairs: Iterable[str]) -> dict[str, str]:
    """`account=lab` and the like, by name.

    Raises:
        SettingsError: one is not of that form.
    """
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.lstrip("-").partition("=")
        if not (name and equals and value):
            raise SettingsError(f"{pair!r} is no parameter of sbatch", where="--slurm", fix="write account=lab")
        values[name.replace("_", "-")] = value
    return values


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
        errors = re.findall(r"error: *(.+)", str(error)) or [type(error).__name__]
        message = f"Slurm refuses: {errors[-1].strip()}"
        raise SettingsError(message, where="--engine slurm", fix="mend --partition, --time or --slurm") from error
    return job.split("_")[0]


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise SettingsError("submitit is not installed", where="--engine slurm", fix=INSTALL_SLURM) from error
    return submitit
