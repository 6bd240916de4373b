"""`geodiag extract` on LoRA adapters against the same updates as full matrices: whole commands on the CPU.

The run of adapters is measured whole: 14 steps on two blocks of Qwen3-8B's shapes, r = 16, a state and an expert a
step. As full matrices that run would be 22 GB of checkpoints, so it is measured on one block at 2 and at 4 steps. What
each further step takes is continued to 14 steps in a straight line, and the whole, without what it takes to start,
taken twice for the two blocks. Comparing pairs, whose number grows with the square of the steps, is underrated by
this, to the disadvantage of the adapters.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from benchmarks.models import QWEN3_8B
from benchmarks.processes import Measured, extract_command, measure

STEPS, BLOCKS, RANK, ALPHA = 14, 2, 16, 32
FEW_STEPS, MORE_STEPS = 2, 4


def main() -> None:
    """Prints time, processor time and peak memory of both, and their ratio at the size of the first."""
    print(f"LoRA r = {RANK} kept factored against full matrices, Qwen3-8B shapes, CPU; whole commands")
    with tempfile.TemporaryDirectory() as folder:
        start = measure("-c", "import geodiag.jobs, torch")
        run = write_run(Path(folder) / "lora", steps=STEPS, blocks=BLOCKS, merged=False)
        ours = measure(*extract_command(str(run), f"{folder}/store"))
        _tell(f"adapters, {STEPS} steps, {BLOCKS} blocks", ours.seconds, ours.cpu_seconds, ours.peak_bytes)
        full = []
        for steps in (FEW_STEPS, MORE_STEPS):
            run = write_run(Path(folder) / f"full{steps}", steps=steps, blocks=1, merged=True)
            full.append(measure(*extract_command(str(run), f"{folder}/store-full")))
            _tell(f"full, {steps} steps, 1 block", full[-1].seconds, full[-1].cpu_seconds, full[-1].peak_bytes)
    wall, cpu = _scaled(*full, start)
    _tell(f"full, scaled to {STEPS} steps, {BLOCKS} blocks", wall, cpu)
    print(f"ratio {wall / ours.seconds:.1f} of wall time, {cpu / ours.cpu_seconds:.1f} of processor time")


def write_run(folder: Path, *, steps: int, blocks: int, merged: bool) -> Path:
    """Writes a base and adapters of random factors, or the bfloat16 checkpoints that they merge into.

    Args:
        folder: where to.
        steps: how many, each with a state and an expert.
        blocks: of Qwen3-8B.
        merged: whether whole checkpoints are written instead of adapters.
    """
    g = torch.Generator().manual_seed(0)
    shapes = {f"model.layers.{b}.{name}": shape for b in range(blocks) for name, shape in QWEN3_8B.items()}
    base = {name: (torch.randn(shape, generator=g) / shape[1] ** 0.5).bfloat16() for name, shape in shapes.items()}
    _save_whole(folder / "base", base)
    for t in range(1, steps + 1):
        for kind in ("state", "expert"):
            factors = {name: _factors(shape, g) for name, shape in shapes.items()}
            if merged:
                scaled = {n: base[n] + ALPHA / RANK * (B.float() @ A.float()) for n, (B, A) in factors.items()}
                _save_whole(folder / f"{kind}{t}", {name: value.bfloat16() for name, value in scaled.items()})
            else:
                _save_adapter(folder / f"{kind}{t}", factors)
    lines = [{"task": f"task{t}", "state": f"state{t}", "expert": f"expert{t}"} for t in range(1, steps + 1)]
    manifest = {
        "run": folder.name,
        "size": "8B",
        "method": "LoRA",
        "base": "base",
        "updates": "experts",
        "steps": lines,
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(manifest))
    return folder


def _factors(shape: tuple[int, int], g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """B (d_out, r) and A (r, d_in) as training leaves them, B small."""
    d_out, d_in = shape
    B, A = 0.02 * torch.randn(d_out, RANK, generator=g), torch.randn(RANK, d_in, generator=g) / d_in**0.5
    return B.bfloat16(), A.bfloat16()


def _save_adapter(folder: Path, factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = {
        f"base_model.model.{name}.lora_{side}.weight": value
        for name, pair in factors.items()
        for side, value in zip("BA", pair, strict=True)
    }
    save_file(tensors, folder / "adapter_model.safetensors")


def _save_whole(folder: Path, weights: Mapping[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    save_file({f"{name}.weight": value for name, value in weights.items()}, folder / "model.safetensors")


def _scaled(few: Measured, more: Measured, start: Measured) -> tuple[float, float]:
    """Wall and processor time of the full matrices at the size of the run of adapters."""

    def scaled(few: float, more: float, start: float) -> float:
        step = max(0.0, more - few) / (MORE_STEPS - FEW_STEPS)
        block = few - start + step * (STEPS - FEW_STEPS)
        return start + BLOCKS * block

    return (
        scaled(few.seconds, more.seconds, start.seconds),
        scaled(few.cpu_seconds, more.cpu_seconds, start.cpu_seconds),
    )


def _tell(what: str, seconds: float, cpu_seconds: float, peak_bytes: int | None = None) -> None:
    memory = "" if peak_bytes is None else f", peak {peak_bytes / 2**30:.2f} GB"
    print(f"{what}: {seconds:.1f} s, {cpu_seconds:.1f} s of processor time{memory}", flush=True)


if __name__ == "__main__":
    main()
