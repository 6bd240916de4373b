"""Whole commands measured from outside: wall time and peak memory, process start and disk included."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

_SEQUENTIAL = """
import pathlib, sys
buffer = bytearray(2**24)
for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.safetensors")):
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
"""


@dataclass(frozen=True)
class Measured:
    """What one command took."""

    seconds: float
    """Wall time."""
    cpu_seconds: float
    """Processor time of all its threads, which other processes do not lengthen."""
    peak_bytes: int
    """Peak resident memory of the process."""


def measure(*arguments: str, shown: bool = False) -> Measured:
    """Runs `python ARGUMENTS` to its end, its output shown or dropped; raises where it fails."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=None if shown else subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} exited with {process.returncode}")
    return Measured(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def read_through(folder: Path) -> Measured:
    """Reads all weights below a folder once, from first to last: afterwards the page cache has what it can hold."""
    return measure("-c", _SEQUENTIAL, str(folder))


def median(measured: list[Measured]) -> Measured:
    """The middle of an odd number of measurements, by wall time."""
    return sorted(measured, key=lambda one: one.seconds)[len(measured) // 2]


def aside(call: Callable[..., object], *arguments: object) -> None:
    """Makes a call in a process of its own: later ones inherit the peak memory of the process that starts them."""
    process = get_context("spawn").Process(target=call, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{call} exited with {process.exitcode}")


def extract_command(run: str, store: str) -> tuple[str, ...]:
    """The command line of an extraction on the CPU."""
    return ("-m", "geodiag", "-q", "extract", run, "--store", store, "--device", "cpu", "--overwrite")
