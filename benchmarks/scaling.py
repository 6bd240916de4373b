"""How the cost of `geodiag extract` grows with the steps: T = 7, 14, 28, and the exponent of a power law through it."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.models import QWEN3_06B, write_run
from benchmarks.processes import aside, extract_command, measure

STEPS = (7, 14, 28)
FAMILIES = ("self_attn.k_proj", "mlp.up_proj", "mlp.down_proj")


def main() -> None:
    """Prints the processor time of each length, less that of a run of one step, and the fitted exponent."""
    print("extract, three layers of Qwen3-0.6B shapes, bfloat16, CPU; processor time less that of a run of one step")
    shapes = {name: QWEN3_06B[name] for name in FAMILIES}
    took: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for steps in (1, *STEPS):
            run = Path(folder) / f"T{steps}"
            aside(partial(write_run, steps=steps), run, shapes)
            found = [measure(*extract_command(str(run), f"{folder}/store{steps}")).cpu_seconds for _ in range(3)]
            took[steps] = sorted(found)[1]
            if steps > 1:
                print(f"T = {steps:>2}: {took[steps] - took[1]:.1f} s", flush=True)
    exponent = np.polyfit(np.log(STEPS), np.log([took[t] - took[1] for t in STEPS]), 1)[0]
    print(f"exponent {exponent:.2f}")


if __name__ == "__main__":
    main()
