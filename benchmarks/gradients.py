"""Gradient conflict of six tasks in one pass and in several, relayed from pass to pass or run whole each time."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from geodiag.checkpoints import FAMILIES, Layer
from geodiag.extraction.measurements.gradients import compare
from geodiag.extraction.measurements.gradients.held import gradient_bytes, split_layers
from geodiag.models.batches import EncodedProbe

TASKS, PROBES, TOKENS, BLOCKS, VOCABULARY = 6, 8, 96, 8, 4096


def main() -> None:
    """Prints, for each number of passes, the budget, the time and by how much the process grew at its peak."""
    if len(sys.argv) > 1:
        print(json.dumps(one(parts=int(sys.argv[1]), relayed=sys.argv[2] == "relayed")))
        return
    print(
        f"gradients of {TASKS} tasks, {PROBES} probes each of up to {TOKENS} tokens, {BLOCKS} blocks of width 512, CPU"
    )
    print(f"{'passes':>7} {'':>8} {'budget MB':>10} {'growth MB':>10} {'seconds':>8}")
    for parts, how in (
        (1, "whole"),
        (2, "whole"),
        (2, "relayed"),
        (4, "whole"),
        (4, "relayed"),
        (8, "whole"),
        (8, "relayed"),
    ):
        command = [sys.executable, "-m", "benchmarks.gradients", str(parts), how]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        growth, budget = found["growth"] / 2**20, found["budget"] / 2**20
        print(f"{found['passes']:>7} {how:>8} {budget:>10.0f} {growth:>10.0f} {found['seconds']:>8.1f}", flush=True)


def one(*, parts: int, relayed: bool) -> dict[str, float]:
    """One comparison under a budget for `parts` passes, in a process of its own."""
    if not relayed:
        compare.RELAYED = frozenset()
    model = tiny_model()
    layers, probes = layers_of(model), random_probes()
    stored = {layer.tensor: layer.d_out * layer.d_in for layer in layers}
    # Enough for a part of the blocks: the scratch of one layer comes on top of each.
    budget = gradient_bytes(layers[: -(-len(layers) // parts)], TASKS, stored)
    passes = split_layers(layers, tasks=TASKS, stored=stored, budget=budget)
    list(compare.compare_tasks(model, [layers[:1]], [probes[0][:2]], batch_tokens=512))
    before, start = peak(), time.perf_counter()
    list(compare.compare_tasks(model, passes, probes, batch_tokens=512))
    seconds = time.perf_counter() - start
    return {"passes": len(passes), "budget": budget, "growth": peak() - before, "seconds": seconds}


def tiny_model() -> Qwen3ForCausalLM:
    """A Qwen3 with random weights."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=BLOCKS,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=64,
    )
    return Qwen3ForCausalLM(config).eval().requires_grad_(False)


def layers_of(model: Qwen3ForCausalLM) -> list[Layer]:
    """Its target layers."""
    found = []
    for name, weight in model.named_parameters():
        *_, family, _ = name.split(".")
        if family in FAMILIES:
            d_out, d_in = weight.shape
            block = int(name.split(".")[2])
            found.append(Layer(name.removesuffix(".weight"), block, family, d_out, d_in, "float32", name))
    return found


def random_probes() -> list[list[EncodedProbe]]:
    """Texts of random tokens, of half to the whole of `TOKENS`, each with a target of four."""
    g = torch.Generator().manual_seed(0)

    def probe() -> EncodedProbe:
        length = int(torch.randint(TOKENS // 2, TOKENS + 1, (), generator=g))
        return EncodedProbe(tuple(torch.randint(VOCABULARY, (length,), generator=g).tolist()), 4, 0)

    return [[probe() for _ in range(PROBES)] for _ in range(TASKS)]


def peak() -> int:
    """The most that this process has ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
