"""`geodiag extract` against the published procedure: the same run, whole commands, T = 6 and 14."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from benchmarks.models import QWEN3_06B, write_run
from benchmarks.processes import aside, extract_command, measure, median, read_through


def main() -> None:
    """Prints both times and their ratio for one block of Qwen3-0.6B's shapes in bfloat16.

    The short command is measured three times, of which the median counts; the long one once.
    """
    print("extract against the published procedure, one block of Qwen3-0.6B shapes, bfloat16, CPU; whole commands")
    print(f"{'T':>3} {'extract s':>10} {'published s':>12} {'ratio':>7} {'ratio of CPU time':>18} {'extract GB':>11}")
    with tempfile.TemporaryDirectory() as folder:
        for steps in (6, 14):
            run = Path(folder) / f"T{steps}"
            aside(partial(write_run, steps=steps), run, QWEN3_06B)
            read_through(run)  # so that both find the weights in the page cache
            ours = median([measure(*extract_command(str(run), f"{folder}/store{steps}")) for _ in range(3)])
            read_through(run)
            published = measure("-m", "benchmarks.published", str(run))
            print(
                f"{steps:>3} {ours.seconds:>10.1f} {published.seconds:>12.1f} {published.seconds / ours.seconds:>7.1f}"
                f" {published.cpu_seconds / ours.cpu_seconds:>18.1f} {ours.peak_bytes / 2**30:>11.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
