"""Where an extraction's time goes: one block of Qwen3-8B's shapes, T = 14, and the two floors under it."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks.models import QWEN3_8B, write_run
from benchmarks.processes import aside, measure, read_through

PARTS = {
    "read and subtract": ("geodiag.extraction.measurements.geometry.layer", ("read_batch",)),
    "read ahead": ("geodiag.extraction.measurements.geometry.updates.LayerUpdates", ("prefetch",)),
    "spectrum": ("geodiag.extraction.measurements.geometry.layer", ("right_spectrum",)),
    "SAR": ("geodiag.extraction.measurements.geometry.alignment", ("projected_norms",)),
    "Bures and unions": ("geodiag.extraction.measurements.geometry.layer", ("_pair_geometry", "_union_ranks")),
    "write": ("geodiag.jobs.run._Task", ("_commit",)),
    "write layers": ("geodiag.jobs.restart.Staging", ("put",)),
}
"""Functions by the part of the work that they are."""


def main() -> None:
    """Writes the run (11 GB), unless there is no room, and prints the whole command and its split."""
    with tempfile.TemporaryDirectory() as folder:
        if shutil.disk_usage(folder).free < 14e9:
            print("needs 14 GB of disk for checkpoints")
            return
        run = Path(folder) / "T14"
        aside(partial(write_run, steps=14), run, QWEN3_8B)
        read_through(run)  # so that both commands below find the same of it in the page cache
        read = read_through(run)
        whole = measure("-m", "benchmarks.breakdown", str(run), f"{folder}/store", shown=True)
        cost = f"{whole.cpu_seconds:.1f} s of processor, {whole.peak_bytes / 2**30:.2f} GB"
        print(f"whole command: {whole.seconds:.1f} s, {cost}")
        print(f"plain sequential read of the same files, as cached: {read.seconds:.1f} s, python's start included")


def timed_run(run: str, store: str) -> None:
    """Extracts with a clock in every part, and prints the sum over threads of each."""
    from geodiag.extraction.measurements.geometry.settings import make_settings
    from tests.jobs.extracting import extract_all

    clock = _Clock()
    for part, (place, names) in PARTS.items():
        for name in names:
            clock.watch(part, place, name)
    with redirect_stdout(sys.stderr):
        extract_all(Path(run), Path(store), make_settings(), device="cpu", strict=True)
    print("seconds of processor by part, over all threads:")
    for part, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1]):
        print(f"  {part:<20} {seconds:>7.1f}")


class _Clock:
    """Adds up the processor time of functions by part."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = Lock()

    def watch(self, part: str, place: str, name: str) -> None:
        """Puts a clock around a function of a module or class."""
        owner = _resolve(place)
        original: Callable[..., Any] = getattr(owner, name)

        def clocked(*args: Any, **more: Any) -> Any:
            start = time.thread_time()
            try:
                return original(*args, **more)
            finally:
                with self._lock:
                    self.seconds[part] += time.thread_time() - start

        setattr(owner, name, clocked)


def _resolve(place: str) -> Any:
    """The module or class of a dotted name."""
    from importlib import import_module

    try:
        return import_module(place)
    except ModuleNotFoundError:
        module, _, name = place.rpartition(".")
        return getattr(import_module(module), name)


if __name__ == "__main__":
    timed_run(sys.argv[1], sys.argv[2])
