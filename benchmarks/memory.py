"""Peak memory of `geodiag extract` at 2 and 8 blocks of one shape: it must not grow with the layers."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from benchmarks.models import QWEN3_06B, write_run
from benchmarks.processes import aside, extract_command, measure

FAMILIES = ("self_attn.q_proj", "mlp.up_proj", "mlp.down_proj")


def main() -> None:
    """Prints the peak resident memory of both and their ratio."""
    print("peak memory of extract, T = 4, three Qwen3-0.6B layers a block, bfloat16, CPU")
    shapes = {name: QWEN3_06B[name] for name in FAMILIES}
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for blocks in (2, 8):
            run = Path(folder) / f"blocks{blocks}"
            aside(partial(write_run, steps=4, blocks=blocks), run, shapes)
            peaks[blocks] = measure(*extract_command(str(run), f"{folder}/store{blocks}")).peak_bytes
            print(f"{blocks} blocks: {peaks[blocks] / 2**30:.2f} GB", flush=True)
    print(f"ratio {peaks[8] / peaks[2]:.2f}")


if __name__ == "__main__":
    main()
