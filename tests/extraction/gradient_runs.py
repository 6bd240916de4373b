"""Tiny runs with probes on disk: Qwen3 states, a byte tokenizer, and the gradients by definition in float64."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging

from geodiag.checkpoints import Layer
from geodiag.runs import Manifest, load_manifest

logging.disable_progress_bar()

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
"""A token a byte: what a text's ids are can be said without the tokenizer."""

BOS = len(BYTES)

Probe = tuple[str, str, str]

PROBES: Sequence[Probe] = [
    (task, f"{task} asks {n}: {'much ' * (n % 3)}what?", f" {word * (1 + n % 2)}")
    for task, word in (("alpha", "yes"), ("beta", "seven"), ("gamma", "no"))
    for n in range(5)
]


def tokenizer(*, chat: bool = False) -> PreTrainedTokenizerFast:
    """Bytes, and a token that begins a text; " B" is one token where the two meet."""
    vocabulary = {name: n for n, name in enumerate([*BYTES, "<s>", "ĠB"])}
    inner = Tokenizer(models.BPE(vocabulary, [("Ġ", "B")]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    outer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>")
    if chat:
        outer.chat_template = (
            "{% for m in messages %}[{{ m.content }}]{% endfor %}{% if add_generation_prompt %}>{% endif %}"
        )
    return outer


def byte_ids(text: str) -> list[int]:
    """The ids of a text without " B", as the alphabet of bytes has them."""
    return [BYTES.index("Ġ" if letter == " " else letter) for letter in text]


def tiny_model(seed: int, *, blocks: int = 2, width: int = 32, head: int = 8) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(BYTES) + 2,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head,
        max_position_embeddings=128,
        initializer_range=0.2,
    )
    return Qwen3ForCausalLM(config).eval()


def random_model(model_type: str, *, blocks: int = 4) -> nn.Module:
    """A tiny random model of any type in float64, with a window shorter than some probes where it has one."""
    shape = {
        "vocab_size": len(BYTES),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": blocks,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "sliding_window": 6,
        "pad_token_id": 0,
        "initializer_range": 0.2,
    }
    torch.manual_seed(1)
    config = CONFIG_MAPPING[model_type](**shape)
    return AutoModelForCausalLM.from_config(config).double().eval().requires_grad_(False)


def write_run(
    folder: Path, *, probes: Sequence[Probe] = PROBES, steps: int = 3, blocks: int = 2, **keys: Any
) -> Manifest:
    """A run of `steps` states, each another random model of one shape, with the tasks alpha, beta, gamma."""
    for n in range(steps + 1):
        tiny_model(n, blocks=blocks).save_pretrained(folder / f"state_{n}")
    tokenizer().save_pretrained(folder / "state_0")
    write_probes(folder / "probes.jsonl", probes)
    return write_manifest(folder, steps=steps, **keys)


def write_manifest(folder: Path, *, steps: int | list[dict[str, str]] = 3, **keys: Any) -> Manifest:
    tasks = ("Alpha", "beta", "gamma")
    trained = [{"task": t, "state": f"state_{n}"} for n, t in enumerate(tasks, start=1)]
    trained = trained[:steps] if isinstance(steps, int) else steps
    text = {"run": "tiny", "size": "1K", "method": "SFT", "base": "state_0", "updates": "increments"}
    manifest = text | {"probes": "probes.jsonl", "steps": trained} | keys
    (folder / "run.yaml").write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))
    return load_manifest(folder)


def write_probes(path: Path, probes: Sequence[Probe]) -> None:
    lines = [json.dumps({"task": task, "prompt": prompt, "target": target}) for task, prompt, target in probes]
    path.write_text("\n".join(lines) + "\n")


def true_gradients(
    model: nn.Module, layers: Sequence[Layer], examples: Sequence[tuple[str, str]]
) -> Mapping[str, torch.Tensor]:
    """The definition, in float64: example by example, without padding, the mean of the means over target tokens."""
    model = model.double()
    weights = [dict(model.named_parameters())[layer.tensor].requires_grad_(True) for layer in layers]
    losses = []
    for prompt, target in examples:
        ids = torch.tensor([byte_ids(prompt + target)])
        log_p = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
        n = len(byte_ids(target))
        losses.append(-sum(log_p[at - 1, ids[0, at]] for at in range(ids.shape[1] - n, ids.shape[1])) / n)
    gradients = torch.autograd.grad(sum(losses) / len(losses), weights)
    return {layer.name: gradient for layer, gradient in zip(layers, gradients, strict=True)}
