"""One process a device: an extraction shared out over several GPUs of one machine."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from geodiag.common.stopping import released_at_the_end
from geodiag.errors import GeodiagError, SettingsError
from geodiag.geometry.numerics import pick_device
from geodiag.jobs.batch import Work, extract_all
from geodiag.jobs.events import BatchReport, Progress, RunOutcome, Silent, failed_run
from geodiag.jobs.machine import default_budget
from geodiag.jobs.shards import Shard
from geodiag.runs import find_manifests


def parse_devices(text: str) -> tuple[str, ...]:
    """`cuda:0,cuda:1` as its devices, `all` as every GPU; anything else is one device.

    Raises:
        SettingsError: there is no such device here.
    """
    if text != "all":
        names = tuple(name.strip() for name in text.split(","))
        for name in names:
            pick_device(name)
        return names
    if not torch.cuda.is_available():
        raise SettingsError("there is no CUDA device here", where="--device all", fix="use auto or cpu")
    return tuple(f"cuda:{n}" for n in range(torch.cuda.device_count()))


def extract_on(devices: Sequence[str], runs: Path, work: Work, *, progress: Progress | None = None) -> BatchReport:
    """Extracts every run below a folder, on one device in this process, or on several in one process each.

    Every process takes its share of each run's layers, then of what else is measured; the last one to finish a run
    brings it into the store.

    Args:
        devices: from `parse_devices`.
        runs: a folder of runs, a run's folder, or a `run.yaml`.
        work: what is measured, and how; its memory is that of each device.
        progress: told of what happens on each.

    Raises:
        GeodiagError: there is no run, or `strict` is set and a run failed.
    """
    progress = progress or Silent()
    if len(devices) == 1:
        return extract_all(runs, replace(work, device=devices[0]), progress=progress)
    if work.shard is not None:
        message = "one shard on several devices"
        raise SettingsError(message, where="--shard", fix="give each device a shard of its own, or leave --shard out")
    find_manifests(runs)  # none there is an error of the call, not of every process
    rounds = [replace(work, measured=(measurement.name,), strict=False) for measurement in work.measurements]
    outcomes = [_side_by_side(devices, runs, one, progress) for one in rounds]
    report = _joined([outcome for of_round in outcomes for outcome in of_round])
    if work.strict and report.failed:
        raise GeodiagError(report.failed[0].detail)
    return report


def _side_by_side(devices: Sequence[str], runs: Path, work: Work, progress: Progress) -> list[RunOutcome]:
    """What every process says became of every run."""
    context = get_context("spawn")
    events = context.SimpleQueue()
    shared = devices.count("cpu") or 1
    if work.memory is None and "cpu" in devices:
        work = replace(work, memory=default_budget(torch.device("cpu")) // shared)
    threads = max(1, torch.get_num_threads() // shared)
    started = [
        context.Process(
            target=_share_of_work,
            args=(events, runs, replace(work, device=device, shard=Shard(n, len(devices))), threads),
            daemon=True,  # they end with this process, whatever ends it
        )
        for n, device in enumerate(devices, start=1)
    ]
    for process in started:
        process.start()

    def stop() -> None:
        for process in started:
            process.terminate()

    with released_at_the_end(stop):
        try:
            return _listen(events, started, progress)
        except BaseException:
            stop()
            raise


def _listen(events: Any, processes: Sequence[SpawnProcess], told: Progress) -> list[RunOutcome]:
    """Passes on what processes tell until each has ended, and returns what they reported."""
    outcomes: list[RunOutcome] = []
    left = len(processes)
    while left:
        if events.empty():
            dead = [process for process in processes if process.exitcode not in (None, 0)]
            if dead:
                raise GeodiagError(
                    f"a process of the extraction ended with {dead[0].exitcode}",
                    fix="run it again: what was finished is kept; a smaller --memory-budget takes less memory",
                )
            processes[0].join(0.05)
            continue
        name, arguments, keywords = events.get()
        if name == "report":
            outcomes += [RunOutcome(*outcome) for outcome in arguments]
            left -= 1
        else:
            getattr(told, name)(*arguments, **keywords)
    return outcomes


class _Relay:
    """Progress of one process, told to the one that started it, under the run's and the device's name."""

    def __init__(self, events: Any, device: str) -> None:
        self._events, self._device = events, device

    def run_started(self, run: str, *, parts: int, done: int, what: str) -> None:
        self._tell("run_started", self._named(run), parts=parts, done=done, what=what)

    def part_done(self, run: str, part: str) -> None:
        self._tell("part_done", self._named(run), part)

    def run_ended(self, run: str) -> None:
        self._tell("run_ended", self._named(run))

    def note(self, text: str) -> None:
        self._tell("note", text)

    def _named(self, run: str) -> str:
        return f"{run} ({self._device})"

    def _tell(self, name: str, *arguments: Any, **keywords: Any) -> None:
        self._events.put((name, arguments, keywords))


def _share_of_work(events: Any, runs: Path, work: Work, threads: int) -> None:
    """Entry point of a worker process, one per device. Ignores SIGINT: the parent stops the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    report = extract_all(runs, work, progress=_Relay(events, work.device))
    events.put(("report", [(one.run, one.status, one.detail) for one in report.outcomes], {}))


def _joined(outcomes: Sequence[RunOutcome]) -> BatchReport:
    """One outcome a run: the first failure, else what the process that finished it says."""
    rank = {"failed": 0, "done": 1, "partial": 2, "unchanged": 3}
    best: dict[str, RunOutcome] = {}
    for one in outcomes:
        if one.run not in best or rank[one.status] < rank[best[one.run].status]:
            best[one.run] = one
    return BatchReport(tuple(_with_error(one) for one in best.values()))


def _with_error(one: RunOutcome) -> RunOutcome:
    return failed_run(one.run, GeodiagError(one.detail)) if one.status == "failed" else one
