"""Elastic weight consolidation (Kirkpatrick et al. 2017), online, with a scale-free strength.

L = L_task + lambda/2 * sum_i F_i (theta_i - theta*_i)^2, with theta* the last state and F the empirical diagonal
Fisher summed over the past tasks (decay 1; Schwarz et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from geodiag.lab.config import EwcOptions
from geodiag.lab.data import IGNORED, EncodedItems
from geodiag.lab.model import Model, norm_of, trainable
from geodiag.lab.strategies.strategy import Lesson, Record, Strategy


def fisher_diagonal(model: Model, items: EncodedItems, *, rows: Sequence[int]) -> list[torch.Tensor]:
    """The empirical diagonal Fisher of a model at some items.

    F_i = mean over items n of (d log p(target_n | prompt_n) / d theta_i)^2, each item's gradient squared on its
    own: the square of a batch's mean gradient would estimate F over the batch size, plus a bias.

    Args:
        model: a causal LM.
        items: encoded items.
        rows: which of them.

    Returns:
        One tensor a trainable parameter, of its shape.
    """
    model.eval()
    parameters = trainable(model)
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for row in rows:
        batch = {name: tensor.to(model.device) for name, tensor in items.batch([row]).items()}
        tokens = int((batch["labels"] != IGNORED).sum())
        gradients = torch.autograd.grad(tokens * model(**batch).loss, parameters)
        for total, gradient in zip(sums, gradients, strict=True):
            total.addcmul_(gradient, gradient)
    return [total / len(rows) for total in sums]


class Ewc(Strategy):
    """Pulls each weight to the last state as strongly as past tasks' likelihoods depend on it."""

    def __init__(self, options: EwcOptions) -> None:
        self.options = options
        self.fisher: list[torch.Tensor] = []
        self.strength: float | None = None

    def begin(self, lesson: Lesson) -> None:
        """Remember the last state; the strength is measured anew at each step."""
        super().begin(lesson)
        self.parameters = trainable(lesson.model)
        self.anchor = [parameter.detach().clone() for parameter in self.parameters]
        self.fisher = [fisher.to(lesson.model.device) for fisher in self.fisher]
        self.strength = None

    @torch.no_grad()
    def add_gradient(self, *, step: int) -> None:
        """Add the penalty's gradient, lambda F (theta - theta*), once the warm-up is over."""
        if not self.fisher or step < self.options.warmup:
            return
        pulls = self._pulls()
        if self.strength is None:
            scale = self._scale(pulls)
            if scale is None:
                return
            self.strength = self.options.strength * scale
        for parameter, pull in zip(self.parameters, pulls, strict=True):
            assert parameter.grad is not None
            parameter.grad.add_(pull, alpha=self.strength)

    @torch.no_grad()
    def penalty(self) -> float:
        """lambda/2 sum_i F_i (theta_i - theta*_i)^2 at the present weights; 0 before lambda is known."""
        moves = [p - start for p, start in zip(self.parameters, self.anchor, strict=True)]
        pairs = zip(self._pulls(), moves, strict=True) if self.fisher else ()
        return (self.strength or 0.0) / 2 * sum(float((pull * move).sum()) for pull, move in pairs)

    def end(self) -> Record:
        """Add the task's Fisher, at the new state, to the sum."""
        lesson, count = self.lesson, min(self.options.fisher_items, len(self.lesson.items))
        rows = lesson.rng.choice(len(lesson.items), size=count, replace=False).tolist()
        new = fisher_diagonal(lesson.model, lesson.items, rows=rows)
        record: Record = {"lambda": self.strength, "lambda_strength": self.options.strength}
        if self.fisher:
            record["penalty"] = self.penalty()
        self.fisher = [old + add for old, add in zip(self.fisher, new, strict=True)] if self.fisher else new
        return {**record, "fisher": "empirical diagonal, mean of per-item squares", "fisher_items": count}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The summed Fisher."""
        return {f"fisher.{k:05d}": fisher.cpu() for k, fisher in enumerate(self.fisher)}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take up the summed Fisher."""
        self.fisher = [tensors[name] for name in sorted(tensors)]

    def _pulls(self) -> list[torch.Tensor]:
        rows = zip(self.fisher, self.parameters, self.anchor, strict=True)
        return [fisher * (parameter - start) for fisher, parameter, start in rows]

    def _scale(self, pulls: list[torch.Tensor]) -> float | None:
        """lambda_0 = ||grad L_task|| / ||F (theta - theta*)||, from the gradients at hand; None before any move."""
        pull = norm_of(pulls)
        task = norm_of([parameter.grad for parameter in self.parameters if parameter.grad is not None])
        return task / pull if pull > 0 else None
