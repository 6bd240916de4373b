"""How much of what a step made of old answers is a mixture of the state before and the new task's own model.

Symbols: p the state before the step, q = base + D_new, s the state after; y an answer's token at position k, y_<k the
answer before it. Whole answers are mixed, not positions:

    beta_k = beta P(y_<k) / (beta P(y_<k) + (1 - beta) Q(y_<k))
    beta   = argmax over a grid of  sum over examples and positions  sum_y s(y) log(beta_k p(y) + (1 - beta_k) q(y))

Mass forgetting: the mixture weight beta of the old mode falls. Drift: the old mode itself moves (arXiv 2603.12163).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from geodiag.stats.score_noise import Numbers, mean_interval

GRID = torch.linspace(0, 1, 201, dtype=torch.float64)
"""Numbers of beta that are tried."""
MOST_OVERLAP, MOST_SE, MOST_FIRST = 0.95, 0.1, 0.2
"""Above these, beta is null: BC(p, q), its standard error, its difference from that of the first position."""

ModeStatus = Literal[
    "mass", "drift", "mixed", "modes overlap", "too few probes", "no change beyond noise", "first position differs"
]


@dataclass(frozen=True)
class ExampleMixture:
    """One example's share of the fit."""

    likelihood: Numbers
    """(201,): sum over positions of sum_y s log(mixture), by beta."""
    first: Numbers
    """(201,): that of the first position alone."""
    entropy: float
    """sum over positions of sum_y s log s, so that KL(s || mixture) = entropy - likelihood."""
    overlap: float
    """Mean over positions of BC(p, q)."""
    positions: int


@dataclass(frozen=True)
class ModeFit:
    """The mixture that fits best, over all examples of a task."""

    beta: float
    """Weight of the state before, 0..1; not to be named where the status says that it is undefined."""
    beta_se: float
    """Jackknife standard error over examples."""
    beta_first: float
    """Fitted at the first position alone."""
    explained: float | None
    """1 - residual_kl / kl_old; None where kl_old is 0."""
    residual_kl: float
    """Mean over positions of KL(s || mixture), nats."""
    kl_old: float
    """Mean over positions of KL(s || p), nats."""
    bc_old_new: float
    """Mean over positions of BC(p, q), 0..1."""
    status: ModeStatus

    @property
    def is_defined(self) -> bool:
        """Whether beta can be named."""
        return self.status in ("mass", "drift", "mixed")


def example_mixture(log_p: Tensor, log_q: Tensor, log_s: Tensor, targets: Tensor) -> ExampleMixture:
    """The grid's likelihoods of one example.

    Args:
        log_p: (k, vocabulary) log-probabilities at the target's positions, before the step.
        log_q: those of base + D_new.
        log_s: those after the step.
        targets: (k,) the target's tokens.
    """
    log_p, log_q, log_s = (part.double() for part in (log_p, log_q, log_s))
    s = log_s.exp()
    weights = prefix_weights(*(part.gather(1, targets[:, None])[:, 0] for part in (log_p, log_q)))
    values = torch.stack([_likelihoods(*rows) for rows in zip(log_p, log_q, s, weights, strict=True)])
    # s log s is 0 where s is 0, whose log is -inf
    entropy = (s * log_s.clamp(min=-1e30)).sum().item()
    overlap = (0.5 * (log_p + log_q)).exp().sum(-1).clamp(max=1.0).mean().item()
    return ExampleMixture(values.sum(0).cpu().numpy(), values[0].cpu().numpy(), entropy, overlap, len(targets))


def prefix_weights(log_p: Tensor, log_q: Tensor) -> Tensor:
    """beta_k by position and grid value, (k, 201), from the log-probabilities (k,) of the answer's tokens."""
    # log P(y_<k) - log Q(y_<k): sums over the tokens before k
    ratio = torch.cat([log_p.new_zeros(1), (log_p - log_q).cumsum(0)[:-1]])
    grid = GRID.to(log_p.device)
    # beta P / (beta P + (1 - beta) Q) = sigmoid(logit beta + log P - log Q)
    return torch.sigmoid(torch.logit(grid)[None] + ratio[:, None])


def _likelihoods(log_p: Tensor, log_q: Tensor, s: Tensor, weights: Tensor) -> Tensor:
    """(201,): sum_y s(y) log(w p(y) + (1 - w) q(y)) at one position; -inf where s has what neither has."""
    held = s > 0
    log_p, log_q, s = log_p[held], log_q[held], s[held]
    values = []
    for w in torch.split(weights, 32):  # (grid, vocabulary) at a time
        mixture = torch.logaddexp(w.log()[:, None] + log_p, torch.log1p(-w)[:, None] + log_q)
        values.append((mixture * s).sum(-1))
    return torch.cat(values)


def fit_modes(examples: Sequence[ExampleMixture]) -> ModeFit:
    """Fits beta over the examples of a task, and says what the step did to its mode.

    Args:
        examples: at least one.
    """
    likelihood = np.stack([example.likelihood for example in examples])
    grid = GRID.numpy()
    total = likelihood.sum(0)
    best = int(total.argmax())
    positions = sum(example.positions for example in examples)
    entropy = sum(example.entropy for example in examples)
    residual, kl_old = (max(entropy - float(total[n]), 0.0) / positions for n in (best, len(grid) - 1))
    beta, se = float(grid[best]), _jackknife_se(likelihood)
    first = float(grid[np.stack([example.first for example in examples]).sum(0).argmax()])
    overlap = sum(example.overlap * example.positions for example in examples) / positions
    explained = 1 - residual / kl_old if kl_old > 0 else None
    changes = np.array([(example.entropy - example.likelihood[-1]) / example.positions for example in examples])
    status = _status(beta, se, first, overlap, explained, changed=mean_interval(changes, level=0.95).is_above)
    return ModeFit(beta, se, first, explained, residual, kl_old, overlap, status)


def _jackknife_se(likelihood: Numbers) -> float:
    """sqrt((n - 1) / n sum_i (beta_(-i) - mean)^2), beta_(-i) fitted without example i; inf for one example."""
    n = len(likelihood)
    if n < 2:
        return float("inf")
    without = (likelihood.sum(0) - likelihood).argmax(1)  # places on the grid
    return float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()) / (len(GRID) - 1))


def _status(
    beta: float, se: float, first: float, overlap: float, explained: float | None, *, changed: bool
) -> ModeStatus:
    if not changed or explained is None:
        return "no change beyond noise"
    if overlap > MOST_OVERLAP:
        return "modes overlap"
    if se > MOST_SE:
        return "too few probes"
    if abs(beta - first) > MOST_FIRST:
        return "first position differs"
    if beta + 1.96 * se <= 0.5 and explained >= 0.75:
        return "mass"
    return "drift" if beta - 1.96 * se >= 0.8 and explained < 0.25 else "mixed"
