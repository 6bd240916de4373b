"""Tiny states on disk to be run: whole checkpoints and LoRA adapters as PEFT writes them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.utils import logging

from geodiag.checkpoints import open_checkpoint, open_model
from geodiag.models.runner import ModelRunner
from geodiag.models.states import ModelState, model_state

logging.disable_progress_bar()
logging.set_verbosity_error()

SHAPE = {
    "vocab_size": 48,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
    "initializer_range": 0.2,
}
MOE = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8]])


def random_model(kind: str, seed: int, **more: Any) -> Any:
    """A random model in which no weight, norms among them, is at its plain start."""
    shape = SHAPE if kind != "gpt2" else {"vocab_size": 48, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    head = {"head_dim": 8} if kind in ("qwen3", "qwen3_moe", "gemma2") else {}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**shape | head | more)).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape))
    return model


def save_states(folder: Path, kind: str, *, n: int = 3, **more: Any) -> list[Any]:
    """Random models of one shape, saved as `s0`, `s1`, ..."""
    models = [random_model(kind, seed, **more) for seed in range(n)]
    for number, model in enumerate(models):
        model.save_pretrained(folder / f"s{number}")
    return models


def save_adapter(folder: Path, base: nn.Module, seed: int, **config: Any) -> Any:
    """A LoRA adapter of a base, every factor random, saved by PEFT; and the model with it, not merged."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    given = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"], "init_lora_weights": False} | config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned = get_peft_model(base, LoraConfig(**given)).eval()
        tuned.save_pretrained(folder)
    return tuned


def state_of(folder: Path, *, base: Path) -> ModelState:
    opened = open_checkpoint(base)
    return model_state(open_model(folder, base=opened), base=opened)


def runner_of(folder: Path, *, base: Path, precision: Any = "float32") -> ModelRunner:
    return ModelRunner.load(state_of(folder, base=base), base=base, device=torch.device("cpu"), precision=precision)


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    return model(input_ids=IDS, use_cache=False).logits


@torch.no_grad()
def edited_by_hand(before: nn.Module, after: nn.Module, names: Any, scale: float) -> Tensor:
    """Logits of a plain loop that builds before + scale (after - before) of the tensors named; 1 is `after` itself."""
    new, own = dict(after.named_parameters()), {name: p.clone() for name, p in before.named_parameters()}
    for name, parameter in before.named_parameters():
        if names(name):
            parameter.copy_(new[name] if scale == 1.0 else parameter + (new[name] - parameter) * scale)
    found = logits(before)
    for name, parameter in before.named_parameters():
        parameter.copy_(own[name])
    return found
