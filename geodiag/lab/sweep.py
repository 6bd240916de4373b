"""A grid of lab runs: bases shared by size, experts by size and seed, trained by several processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from fnmatch import fnmatch
from multiprocessing import get_context
from pathlib import Path
from time import monotonic

from geodiag.errors import SettingsError
from geodiag.lab.config import LabConfig, LabProgress, SweepConfig, find_config, load_config


@dataclass(frozen=True)
class Job:
    """A unit of training: a base, the experts of a size and seed, or a run."""

    kind: str
    """`base`, `experts` or `run`."""
    name: str
    """Its folder below `out`."""
    config: LabConfig
    """The configuration of a run that needs it."""
    needs: str | None = None
    """The name of the job that must finish first."""

    @property
    def cost(self) -> int:
        """A rough measure of its work: weights times items times steps."""
        model, training = self.config.model, self.config.training
        weights = model.layers * model.width * (model.width + model.ffn) if model else 1
        return weights * training.batch * training.steps


def plan_sweep(config: SweepConfig, *, only: str = "*", limit: int | None = None) -> tuple[Job, ...]:
    """The jobs of a sweep: bases first, then the others, each group by falling cost.

    Args:
        config: the grid.
        only: plan only the runs whose id matches this pattern, such as `5m-*`.
        limit: plan only the first so many of them, with the bases and experts they need.

    Returns:
        Bases, then experts and runs; each name once.

    Raises:
        SettingsError: no run's id matches.
    """
    runs = [run for run in config.runs() if fnmatch(run.run, only)][:limit]
    if not runs:
        raise SettingsError(f"no run's id matches '{only}'", where="only", fix=f"as in {config.runs()[0].run}")
    jobs: dict[str, Job] = {}
    for run in runs:
        base = f"bases/{run.size}"
        experts = f"experts/{run.size}-s{run.seed}"
        jobs.setdefault(base, Job("base", base, run))
        jobs.setdefault(experts, Job("experts", experts, run, base))
        jobs[f"runs/{run.run}"] = Job("run", f"runs/{run.run}", run, base)
    return tuple(sorted(jobs.values(), key=lambda job: (job.kind != "base", -job.cost)))


def run_sweep(
    config: SweepConfig,
    out: Path,
    *,
    workers: int = 1,
    only: str = "*",
    limit: int | None = None,
    progress: LabProgress,
) -> Path:
    """Train a sweep into `out`: `bases/<size>`, `experts/<size>-s<seed>/<task>` and `runs/<run>`.

    What exists already is kept; a sweep that was killed goes on at each run's last finished step.

    Args:
        config: the grid.
        out: the sweep's folder.
        workers: processes at once, each with the configured threads; 1 trains in this process.
        only: train only the runs whose id matches this pattern.
        limit: train only the first so many of them.
        progress: called with one line at a time.

    Returns:
        The folder of the runs.

    Raises:
        SettingsError: `out` holds something made with other settings, or a job failed.
    """
    jobs = plan_sweep(config, only=only, limit=limit)
    if workers == 1:
        for job in jobs:
            do_job(job, out, progress=progress)
    else:
        failed = _in_processes(jobs, out, workers=workers, progress=progress)
        if failed:
            raise SettingsError(
                f"{len(failed)} of {len(jobs)} jobs failed, first {failed[0]}",
                where=out,
                fix="mend it and start again: what is done is kept",
            )
    return out / "runs"


def do_job(job: Job, out: Path, *, progress: LabProgress) -> None:
    """Train one job."""
    # torch and transformers are loaded only where something is trained.
    from geodiag.lab.base import prepare_base
    from geodiag.lab.run import train_experts, train_sequence
    from geodiag.lab.training import computing

    base, experts = out / "bases" / job.config.size, out / "experts" / f"{job.config.size}-s{job.config.seed}"
    if job.kind == "base":
        with computing(job.config):
            prepare_base(job.config, base, progress=progress)
    elif job.kind == "experts":
        train_experts(job.config, base=base, experts=experts, progress=progress)
    else:
        train_sequence(job.config, out / job.name, base=base, experts=experts, progress=progress)


def _in_processes(jobs: Sequence[Job], out: Path, *, workers: int, progress: LabProgress) -> list[str]:
    """Do the jobs in `workers` processes, each as soon as the job that it needs is done; one line a failure."""
    waiting, done, failed = list(jobs), set[str](), list[str]()
    begun, running = monotonic(), dict[Future[str], Job]()
    # Forked children of a process that has used torch's threads can hang, so each starts afresh.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        while waiting or running:
            for job in _startable(waiting, done=done, slots=workers - len(running)):
                waiting.remove(job)
                running[pool.submit(_last_line, job, out)] = job
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                error = future.exception()
                if error is not None:
                    failed.append(f"{job.name}: {error}")
                else:
                    done.add(job.name)
                line = f"failed: {error}" if error else future.result()
                progress(f"[{monotonic() - begun:.0f} s, {len(done)}/{len(jobs)}] {job.name}: {line}")
    return failed


def _startable(waiting: Sequence[Job], *, done: set[str], slots: int) -> list[Job]:
    return [job for job in waiting if job.needs is None or job.needs in done][:slots]


def _last_line(job: Job, out: Path) -> str:
    """Do a job in a worker; the last line of its progress."""
    lines: deque[str] = deque(["there already"], maxlen=1)
    do_job(job, out, progress=lines.append)
    return lines[0]


def make_demo_runs(out: Path, *, progress: LabProgress) -> Path:
    """Train the demonstration's runs in this process.

    Args:
        out: where bases, experts and runs go; those that exist already are kept.
        progress: called with one line at a time.

    Returns:
        The folder of the runs, one `run.yaml` each.
    """
    return run_sweep(load_config(find_config("demo"), SweepConfig), out, workers=1, progress=progress)
