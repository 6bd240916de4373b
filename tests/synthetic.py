"""Small real runs on disk: random weights in safetensors, shaped like a decoder, with updates that overlap."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

WIDTH, KV, MLP = 48, 24, 80
SHAPES = {
    "self_attn.q_proj": (WIDTH, WIDTH),
    "self_attn.k_proj": (KV, WIDTH),
    "self_attn.v_proj": (KV, WIDTH),
    "self_attn.o_proj": (WIDTH, WIDTH),
    "mlp.gate_proj": (MLP, WIDTH),
    "mlp.up_proj": (MLP, WIDTH),
    "mlp.down_proj": (WIDTH, MLP),
}


def layer_names(blocks):
    """Every target layer of a synthetic model."""
    return [f"model.layers.{b}.{name}" for b in range(blocks) for name in SHAPES]


def random_weights(blocks, generator, *, scale=1.0):
    """A state dict with the target layers of `blocks` blocks, an embedding and a norm."""
    weights = {
        f"{name}.weight": scale * torch.randn(SHAPES[name.split(".", 3)[3]], generator=generator, dtype=torch.float64)
        for name in layer_names(blocks)
    }
    weights["model.embed_tokens.weight"] = torch.randn(11, WIDTH, generator=generator, dtype=torch.float64)
    weights["model.norm.weight"] = torch.ones(WIDTH, dtype=torch.float64)
    return weights


def add_update(weights, generator, *, scale, decay=0.7, rank=20):
    """The weights moved by random updates with a power-law spectrum, target layers only."""
    moved = dict(weights)
    for name in weights:
        if "layers" in name:
            d_out, d_in = weights[name].shape
            U = torch.randn(d_out, rank, generator=generator, dtype=torch.float64)
            V = torch.randn(rank, d_in, generator=generator, dtype=torch.float64)
            moved[name] = weights[name] + scale / d_in**0.5 * (U * torch.arange(1, rank + 1) ** -decay) @ V
    return moved


def save_checkpoint(folder, weights, *, dtype=torch.float32, shards=1):
    """Writes a Hugging Face folder, sharded where asked."""
    folder.mkdir(parents=True)
    stored = {name: value.to(dtype).contiguous() for name, value in weights.items()}
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
    if shards == 1:
        save_file(stored, folder / "model.safetensors")
        return folder
    names, index = sorted(stored), {}
    for n in range(shards):
        file = f"model-{n + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: stored[name] for name in names[n::shards]}
        save_file(part, folder / file)
        index |= dict.fromkeys(part, file)
    text = json.dumps({"metadata": {"total_size": 0}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)
    return folder


def write_run(folder: Path, *, run="run", steps=4, blocks=1, seed=0, dtype=torch.float32, shards=1, **manifest):
    """A run with experts, states and scores; returns its folder.

    Every state takes over half of the one before and the whole of its task's expert, so updates overlap.
    """
    g = torch.Generator().manual_seed(seed)
    base = random_weights(blocks, g)
    save_checkpoint(folder / "base", base, dtype=dtype, shards=shards)
    state, lines, scores = base, [], ["step,task,score"]
    for t in range(1, steps + 1):
        expert = add_update(base, g, scale=0.5)
        state = {name: state[name] + 0.7 * (expert[name] - base[name]) for name in base}
        save_checkpoint(folder / "experts" / f"t{t}", expert, dtype=dtype, shards=shards)
        save_checkpoint(folder / "states" / f"s{t}", state, dtype=dtype, shards=shards)
        lines.append({"task": f"task {t}", "state": f"states/s{t}", "expert": f"experts/t{t}"})
        drawn = torch.rand(steps, generator=g).tolist()
        scores += [f"{t},task {n + 1},{value:.4f}" for n, value in enumerate(drawn)]
    (folder / "scores.csv").write_text("\n".join(scores) + "\n")
    config = {"run": run, "size": "tiny", "method": "Seq. SFT", "base": "base", "updates": "experts"}
    config |= {"scores": "scores.csv", "steps": lines} | manifest
    (folder / "run.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return folder


def read_weights(folder: Path):
    """A checkpoint as stored, exact in float64."""
    from safetensors.torch import load_file

    return {name: value.double() for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}
