"""Exact match under greedy decoding, from one forward pass.

Greedy decoding writes the target exactly when, given the true prefix, every target token is the most likely
next token: up to the first wrong token the decoded prefix is the true one. So one teacher-forced pass decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from geodiag.lab.data import IGNORED, Encoded

FORWARD_TOKENS = 8192
"""Tokens a forward pass at most, so that large vocabularies fit in memory."""


@dataclass(frozen=True)
class Score:
    """The share of held-out items that greedy decoding answers exactly."""

    task: str
    """The task's name."""
    score: float
    """Right answers over items, in [0, 1]."""
    n: int
    """Items scored."""

    @property
    def stderr(self) -> float:
        """The binomial standard error sqrt(p (1 - p) / n)."""
        return math.sqrt(self.score * (1 - self.score) / self.n)


@torch.no_grad()
def exact_matches(model: Any, encoded: Encoded) -> torch.Tensor:
    """Which items greedy decoding would answer exactly; (items,) bool, on the CPU."""
    model.eval()
    rows = max(1, FORWARD_TOKENS // encoded.ids.shape[1])
    found = []
    for start in range(0, len(encoded), rows):
        batch = encoded.batch(slice(start, start + rows))
        logits = model(input_ids=batch["input_ids"].to(model.device)).logits
        labels = batch["labels"][:, 1:].to(model.device)
        found.append(((logits[:, :-1].argmax(-1) == labels) | (labels == IGNORED)).all(1).cpu())
    return torch.cat(found)


def score_tasks(model: Any, held_out: dict[str, Encoded]) -> tuple[Score, ...]:
    """The score of every task, seen or not."""
    return tuple(
        Score(task, float(exact_matches(model, encoded).float().mean()), len(encoded))
        for task, encoded in held_out.items()
    )
