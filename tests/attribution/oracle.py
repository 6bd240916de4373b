"""The definitions in plain float64: losses example by example, gradients by autograd, the path integral by Gauss."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from geodiag.models.batches import EncodedProbe

VOCABULARY = 40


def model_of(model_type: str, seed: int, *, tied: bool = False, scale: float = 0.2, **keys) -> nn.Module:
    """A tiny random model in float64, its norms and biases random too."""
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "initializer_range": scale,
        "tie_word_embeddings": tied,
        "pad_token_id": 0,
    }
    if "moe" in model_type:
        shape |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12}
    torch.manual_seed(seed)
    config = CONFIG_MAPPING[model_type](**shape | keys)
    extra = {"experts_implementation": "eager"} if "moe" in model_type else {}  # the fused one has no float64
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", **extra).double().eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model.requires_grad_(False)


def moved(model: nn.Module, seed: int, size: float) -> nn.Module:
    """The model a random step further, every parameter changed."""
    other = copy.deepcopy(model)
    torch.manual_seed(seed)
    for parameter in other.parameters():
        parameter.data += size * torch.randn_like(parameter)
    return other


def examples(count: int, seed: int = 0) -> list[EncodedProbe]:
    """Texts of random tokens of several lengths, with targets of one to three tokens."""
    g = np.random.default_rng(seed)
    return [EncodedProbe(tuple(g.integers(1, VOCABULARY, 4 + n % 4).tolist()), 1 + n % 3, 0) for n in range(count)]


def loss(model: nn.Module, example: EncodedProbe) -> torch.Tensor:
    """Mean cross-entropy of the target's tokens, alone and without padding."""
    ids = torch.tensor([example.ids])
    log_p = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
    places = range(len(example.ids) - example.n_target, len(example.ids))
    return -sum(log_p[at - 1, ids[0, at]] for at in places) / example.n_target


def gradient(model: nn.Module, example: EncodedProbe) -> dict[str, torch.Tensor]:
    """The dense gradient of one example's loss by parameter; a tied parameter's goes by its first name."""
    named = dict(model.named_parameters())
    for parameter in named.values():
        parameter.requires_grad_(True)
    grads = torch.autograd.grad(loss(model, example), list(named.values()), allow_unused=True)
    for parameter in named.values():
        parameter.requires_grad_(False)
    return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(named.items(), grads, strict=True)}


def products(model: nn.Module, example: EncodedProbe, delta: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """<gradient, delta> by parameter."""
    return {name: (g * delta[name]).sum().item() for name, g in gradient(model, example).items() if name in delta}


def difference(before: nn.Module, after: nn.Module) -> dict[str, torch.Tensor]:
    end = dict(after.named_parameters())
    return {name: (end[name] - p).detach() for name, p in before.named_parameters()}


def path_integral(
    before: nn.Module,
    after: nn.Module,
    texts: Sequence[EncodedProbe],
    points: int = 64,
    directions: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, list[float]]:
    """The allocation by parameter and example, with Gauss-Legendre points on the straight path.

    Args:
        directions: multiplied with the gradients in place of the change, for those parameters alone.
    """
    delta = difference(before, after)
    directions = delta if directions is None else directions
    nodes, weights = np.polynomial.legendre.leggauss(points)
    total = {name: [0.0] * len(texts) for name in directions}
    model = copy.deepcopy(before)
    start = dict(before.named_parameters())
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        for name, parameter in model.named_parameters():
            parameter.data = start[name] + node * delta[name]
        for n, text in enumerate(texts):
            for name, value in products(model, text, directions).items():
                total[name][n] += weight * value
    return total
