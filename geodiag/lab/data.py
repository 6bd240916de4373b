"""Items as tensors: prompt and target joined, the prompt masked out of the labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from numpy.random import Generator

from geodiag.errors import SettingsError
from geodiag.lab.suite import Item

IGNORED = -100
"""The label that the loss leaves out."""

Batch = dict[str, torch.Tensor]
"""`input_ids` and `labels`, both (items, tokens)."""


@dataclass(frozen=True)
class Encoded:
    """Items as token ids, right-padded to the longest.

    A causal model never looks to the right, so padding on that side needs no attention mask.
    """

    ids: torch.Tensor
    """(items, tokens), int64."""
    labels: torch.Tensor
    """The ids where the target stands, -100 elsewhere; (items, tokens)."""

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: Sequence[int] | torch.Tensor | slice) -> Batch:
        """The rows as a batch, cut to their longest item."""
        rows = rows if isinstance(rows, slice) else torch.as_tensor(rows)
        ids, labels = self.ids[rows], self.labels[rows]
        length = int((labels != IGNORED).any(0).nonzero().max()) + 1
        return {"input_ids": ids[:, :length].contiguous(), "labels": labels[:, :length].contiguous()}


def encode(tokenizer: Any, items: Sequence[Item]) -> Encoded:
    """Token ids of `prompt + target` and labels with the prompt masked.

    Raises:
        SettingsError: an item's text has characters that the tokenizer does not know.
    """
    prompts = tokenizer([item.prompt for item in items])["input_ids"]
    targets = tokenizer([item.target for item in items], add_special_tokens=False)["input_ids"]
    rows = [(p + t, [IGNORED] * len(p) + t) for p, t in zip(prompts, targets, strict=True)]
    _check_known(tokenizer, items, [ids for ids, _ in rows])
    length = max(len(ids) for ids, _ in rows)
    pad = tokenizer.pad_token_id or 0
    ids = torch.tensor([ids + [pad] * (length - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [IGNORED] * (length - len(labels)) for _, labels in rows])
    return Encoded(ids, labels)


def _check_known(tokenizer: Any, items: Sequence[Item], rows: Sequence[Sequence[int]]) -> None:
    unknown = tokenizer.unk_token_id
    if unknown is None:
        return
    for item, ids in zip(items, rows, strict=True):
        if unknown in ids:
            raise SettingsError(
                f"the tokenizer does not know every character of '{(item.prompt + item.target)[:60]}'",
                where="suite",
                fix="a base whose tokenizer covers the tasks",
            )


def one_pass(encoded: Encoded, *, batch: int, rng: Generator) -> Iterator[Batch]:
    """All items once, in a random order; the last batch holds what is left."""
    order = torch.from_numpy(rng.permutation(len(encoded)))
    for start in range(0, len(order), batch):
        yield encoded.batch(order[start : start + batch])


def epochs(encoded: Encoded, *, batch: int, rng: Generator) -> Iterator[Batch]:
    """Batches without end, each pass over the items in a new random order; only full batches.

    Where there are fewer items than one batch holds, a batch is all of them.
    """
    size = min(batch, len(encoded))
    while True:
        yield from islice(one_pass(encoded, batch=size, rng=rng), len(encoded) // size)
