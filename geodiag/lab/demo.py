"""The demonstration's runs: a small base, experts, and two Seq. SFT runs over eight tasks in different orders."""

from __future__ import annotations

from pathlib import Path

from geodiag.lab.config import Progress, SweepConfig, find_config, load_config
from geodiag.lab.sweep import run_sweep


def make_demo_runs(out: Path, *, progress: Progress) -> Path:
    """Train the demonstration's runs in this process.

    Args:
        out: where bases, experts and runs go; what is there already is kept.
        progress: is told one line at a time.

    Returns:
        The folder of the runs, one `run.yaml` each.
    """
    return run_sweep(load_config(find_config("demo"), SweepConfig), out, workers=1, progress=progress)
