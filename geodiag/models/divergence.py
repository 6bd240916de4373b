"""Divergence of two states' predictions, from hidden states that were kept and each state's head.

KL(p || q) = sum_y p(y) log(p(y) / q(y)) in nats; Bhattacharyya coefficient BC(p, q) = sum_y sqrt(p(y) q(y)), 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geodiag.models.runner import ModelRunner

MOST_POSITIONS = 64
"""Positions of an example at which states are compared: the first ones of its target."""
_ENTRIES_A_CHUNK = 2**24
"""Logits of one state that are remade at a time."""


@dataclass(frozen=True)
class Head:
    """What turns normalised hidden states into logits at one state."""

    weight: Tensor
    """(vocabulary, width), in the model's dtype."""
    bias: Tensor | None
    factors: tuple[tuple[Tensor, Tensor], ...]
    """(left, right) of an adapter's side branches on the head."""
    scale: float
    """What the logits are multiplied by."""
    cap: float | None
    """c of c tanh(logits / c), where the model caps them."""

    @property
    def bytes(self) -> int:
        """Bytes of its weight."""
        return self.weight.numel() * self.weight.element_size()

    def to(self, device: torch.device) -> Head:
        """The same on a device."""
        bias = None if self.bias is None else self.bias.to(device)
        factors = tuple((left.to(device), right.to(device)) for left, right in self.factors)
        return Head(self.weight.to(device), bias, factors, self.scale, self.cap)

    def logits(self, hidden: Tensor) -> Tensor:
        """(p, vocabulary) in float32 from hidden states (p, width)."""
        logits = nn.functional.linear(hidden, self.weight, self.bias)
        for left, right in self.factors:
            logits = (logits + (hidden.to(right.dtype) @ right.T) @ left.T).to(logits.dtype)
        logits = logits * self.scale if self.scale != 1.0 else logits
        logits = torch.tanh(logits / self.cap) * self.cap if self.cap else logits
        return logits.float()


def head_of(runner: ModelRunner) -> Head:
    """A copy of a model's head at its present state."""
    config: Any = runner.model.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    module: Any = runner.model.get_output_embeddings()  # type: ignore[operator]
    name = next(name for name, other in runner.model.named_modules() if other is module)
    factors = [
        (f.B.to(runner.device, torch.float32) * f.scale, f.A.to(runner.device, torch.float32))
        for f in runner.state.module_factors(name)
    ]
    multiplied, divided = getattr(config, "logit_scale", None), getattr(config, "logits_scaling", None)
    bias = getattr(module, "bias", None)
    return Head(
        module.weight.detach().clone(),
        None if bias is None else bias.detach().clone(),
        tuple(factors),
        float(multiplied or 1.0) / float(divided or 1.0),
        getattr(config, "final_logit_softcapping", None),
    )


def head_agrees(head: Head, hidden: Tensor, logits: Tensor) -> bool:
    """Whether a head remakes a model's own logits; not so where the model scales or caps them in a way of its own."""
    remade = head.logits(hidden)
    spread = float(logits.float().abs().max()) or 1.0
    tolerance = 0.05 if logits.dtype == torch.bfloat16 else 1e-3
    return float((remade - logits.float()).abs().max()) <= tolerance * spread


@dataclass(frozen=True)
class Divergence:
    """How two states' predictions differ on an example, as means over its positions."""

    forward: float
    """KL(before || now), nats."""
    backward: float
    """KL(now || before), nats."""
    overlap: float
    """BC(before, now), 0..1."""


@torch.no_grad()
def divergences(before: Tensor, before_head: Head, now: Tensor, now_head: Head, counts: list[int]) -> list[Divergence]:
    """Divergence of two states, example by example.

    Where the heads have different numbers of rows, both distributions are taken over the common ones.

    Args:
        before: (p, width), the hidden states of one state, example after example.
        before_head: its head.
        now: (p, width) of the other state.
        now_head: its head.
        counts: how many of the p positions each example has.
    """
    rows = max(1, _ENTRIES_A_CHUNK // len(before_head.weight))
    parts = [
        position_divergence(before_head.logits(before[n : n + rows]), now_head.logits(now[n : n + rows]))
        for n in range(0, len(before), rows)
    ]
    values = torch.cat(parts).cpu()
    return [Divergence(*example.mean(0).tolist()) for example in torch.split(values, counts)]


def position_divergence(before: Tensor, now: Tensor) -> Tensor:
    """(p, 3): KL(before || now), KL(now || before) and BC at each position, in float64, from logits (p, vocabulary)."""
    n = min(before.shape[1], now.shape[1])
    log_p, log_q = (torch.log_softmax(logits[:, :n].double(), dim=-1) for logits in (before, now))
    p, q, difference = log_p.exp(), log_q.exp(), log_p - log_q
    overlap = (0.5 * (log_p + log_q)).exp().sum(-1).clamp(max=1.0)
    forward, backward = ((p * difference).sum(-1), (q * -difference).sum(-1))
    return torch.stack([forward.clamp(min=0.0), backward.clamp(min=0.0), overlap], dim=1)
