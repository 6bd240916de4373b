"""A tiny run with probes on disk whose states lie a small step apart."""

from __future__ import annotations

import torch
from transformers import Qwen3ForCausalLM

from tests.extraction.gradient_runs import tiny_model, tokenizer, write_manifest, write_probes

PROBES = [
    (task, f"{task} asks {n}: {'much ' * (n % 3)}what?", f" {word * (1 + n % 2)}")
    for task, word in (("alpha", "yes"), ("beta", "seven"), ("skill", "no"))
    for n in range(4)
]


def step_further(model: Qwen3ForCausalLM, seed: int) -> Qwen3ForCausalLM:
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=g)
    return model


def write_run(folder, *, steps=2, probes=PROBES, **keys):
    """A run of two blocks of width 16 with the tasks Alpha, beta, gamma; gamma has no probes, `skill` no step."""
    model = tiny_model(0, blocks=1, width=16, head=4)
    for n in range(steps + 1):
        model.save_pretrained(folder / f"state_{n}")
        model = step_further(model, n)
    tokenizer().save_pretrained(folder / "state_0")
    write_probes(folder / "probes.jsonl", probes)
    return write_manifest(folder, steps=steps, **keys)
