"""Updates of a layer that are in memory at once: which ones, and in which precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geodiag.extraction.weights import LayerUpdates, Measures


@dataclass(frozen=True)
class Batch:
    """Updates of one layer that are read and measured together."""

    members: tuple[int, ...]
    """Indices into the plan's updates, rising."""
    factored: bool
    """Whether they are right factors, a few rows each, rather than full matrices."""


@dataclass(frozen=True)
class Batching:
    """How many full updates of a layer are in memory at once, and in which precision they are kept."""

    block: int
    """Full updates that are measured as one batch."""
    hold: bool
    """Whether all updates stay until their subspaces have been compared, rather than be read a second time."""
    rough: torch.dtype
    """The precision in which they stay, and in which large products run."""
    ahead: int
    """Updates whose weights are read before they are asked for."""


def in_batches(updates: LayerUpdates, members: Sequence[int], block: int) -> list[Batch]:
    """Full updates in blocks, then all factored ones."""
    full = [i for i in members if not updates.factored(i)]
    factored = tuple(i for i in members if updates.factored(i))
    blocks = [Batch(tuple(full[first : first + block]), False) for first in range(0, len(full), block)]
    return blocks + ([Batch(factored, True)] if factored else [])


def read_batch(updates: LayerUpdates, batch: Batch) -> tuple[Tensor, tuple[Measures, ...]]:
    """The updates of a batch, stacked; right factors of fewer rows than others get rows of zeros."""
    if batch.factored:
        factors = [updates.matrix(i) for i in batch.members]
        rows = max(1, *(len(C) for C in factors))
        D = torch.stack([torch.nn.functional.pad(C, (0, 0, 0, rows - len(C))) for C in factors])
        return D, tuple(updates.measures(i, C) for i, C in zip(batch.members, factors, strict=True))
    D = updates.new(len(batch.members))
    return D, tuple(updates.measures(i, updates.matrix(i, out=D[row])) for row, i in enumerate(batch.members))
