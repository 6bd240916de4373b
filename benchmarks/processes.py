"""Whole commands measured from outside: wall time and peak memory, process start and disk included."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """What one command took."""

    seconds: float
    """Wall time."""
    cpu_seconds: float
    """Processor time of all its threads, which other processes do not lengthen."""
    peak_bytes: int
    """Peak resident memory of the process."""


def measure(*arguments: str) -> Measured:
    """Runs `python ARGUMENTS` to its end; raises where it fails."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} exited with {process.returncode}")
    return Measured(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def extract_command(run: str, store: str) -> tuple[str, ...]:
    """The command line of an extraction on the CPU."""
    return ("-m", "geodiag", "-q", "extract", run, "--store", store, "--device", "cpu", "--overwrite")
