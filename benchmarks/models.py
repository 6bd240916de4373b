"""Runs of a model's layer shapes on disk: random weights, updates with power-law spectra that overlap."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

QWEN3_06B = {
    "self_attn.q_proj": (2048, 1024),
    "self_attn.k_proj": (1024, 1024),
    "self_attn.v_proj": (1024, 1024),
    "self_attn.o_proj": (1024, 2048),
    "mlp.gate_proj": (3072, 1024),
    "mlp.up_proj": (3072, 1024),
    "mlp.down_proj": (1024, 3072),
}
"""One block of Qwen3-0.6B."""

QWEN3_8B = {
    "self_attn.q_proj": (4096, 4096),
    "self_attn.k_proj": (1024, 4096),
    "self_attn.v_proj": (1024, 4096),
    "self_attn.o_proj": (4096, 4096),
    "mlp.gate_proj": (12288, 4096),
    "mlp.up_proj": (12288, 4096),
    "mlp.down_proj": (4096, 12288),
}
"""One block of Qwen3-8B."""


def write_run(folder: Path, shapes: dict[str, tuple[int, int]], *, steps: int, blocks: int = 1, seed: int = 0) -> Path:
    """Writes base, experts and states in bfloat16 with a manifest, unless they are there; returns the folder."""
    if (folder / "run.yaml").exists():
        return folder
    g = torch.Generator().manual_seed(seed)
    base = {
        f"model.layers.{b}.{name}.weight": torch.randn(shape, generator=g) / shape[1] ** 0.5
        for b in range(blocks)
        for name, shape in shapes.items()
    }
    state = {name: w.clone() for name, w in base.items()}
    _save(folder / "base", base)
    for t in range(1, steps + 1):
        updates = {name: _update(w.shape, g) for name, w in base.items()}
        _save(folder / f"expert{t}", {name: base[name] + D for name, D in updates.items()})
        for name, D in updates.items():
            state[name] += 0.5 * D
        _save(folder / f"state{t}", state)
    lines = [{"task": f"task{t}", "state": f"state{t}", "expert": f"expert{t}"} for t in range(1, steps + 1)]
    manifest = {"run": folder.name, "size": "bench", "method": "none", "base": "base", "updates": "experts"}
    (folder / "run.yaml").write_text(yaml.safe_dump({**manifest, "steps": lines}))
    return folder


def power_law(shape: tuple[int, int], decay: float, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A full-rank matrix with singular values k^-decay, and its right singular vectors."""
    g = torch.Generator().manual_seed(seed)
    k = min(shape)
    U = torch.linalg.qr(torch.randn(shape[0], k, generator=g)).Q
    V = torch.linalg.qr(torch.randn(shape[1], k, generator=g)).Q
    return (U * torch.arange(1, k + 1) ** -decay) @ V.T, V


def _update(shape: torch.Size, g: torch.Generator, *, rank: int = 128) -> torch.Tensor:
    U = torch.randn(shape[0], rank, generator=g) * torch.arange(1, rank + 1) ** -0.5
    return 0.2 / (shape[0] * shape[1]) ** 0.5 * U @ torch.randn(rank, shape[1], generator=g)


def _save(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    stored = {name: w.to(torch.bfloat16) for name, w in weights.items()}
    save_file(stored, folder / "model.safetensors")
