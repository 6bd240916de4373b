"""Task items as tensors, the task sequence of a run, and its replay memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from numpy.random import Generator

from geodiag.errors import SettingsError
from geodiag.lab.config import LabConfig
from geodiag.lab.suite import Item, Task, build_suite, generator_of
from geodiag.models.loading import load_tokenizer

IGNORED = -100
"""The label of tokens that take no part in the loss."""

TokenBatch = dict[str, torch.Tensor]
"""`input_ids` and `labels`, both (items, tokens)."""


@dataclass(frozen=True)
class EncodedItems:
    """Items as token ids, right-padded to the longest.

    A causal model never looks to the right, so padding on that side needs no attention mask.
    """

    ids: torch.Tensor
    """(items, tokens), int64."""
    labels: torch.Tensor
    """The ids where the target stands, -100 elsewhere; (items, tokens)."""

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: Sequence[int] | torch.Tensor | slice) -> TokenBatch:
        """The rows as a batch, cut to their longest item."""
        rows = rows if isinstance(rows, slice) else torch.as_tensor(rows)
        ids, labels = self.ids[rows], self.labels[rows]
        length = int((labels != IGNORED).any(0).nonzero().max()) + 1
        return {"input_ids": ids[:, :length].contiguous(), "labels": labels[:, :length].contiguous()}


def encode_items(tokenizer: Any, items: Sequence[Item]) -> EncodedItems:
    """Token ids of `prompt + target` and labels with the prompt masked.

    Raises:
        SettingsError: an item's text has characters that the tokenizer does not have.
    """
    prompts = tokenizer([item.prompt for item in items])["input_ids"]
    targets = tokenizer([item.target for item in items], add_special_tokens=False)["input_ids"]
    rows = [(p + t, [IGNORED] * len(p) + t) for p, t in zip(prompts, targets, strict=True)]
    _check_characters(tokenizer, items, [ids for ids, _ in rows])
    length = max(len(ids) for ids, _ in rows)
    pad = tokenizer.pad_token_id or 0
    ids = torch.tensor([ids + [pad] * (length - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [IGNORED] * (length - len(labels)) for _, labels in rows])
    return EncodedItems(ids, labels)


def _check_characters(tokenizer: Any, items: Sequence[Item], rows: Sequence[Sequence[int]]) -> None:
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


def one_pass(encoded: EncodedItems, *, batch: int, rng: Generator) -> Iterator[TokenBatch]:
    """All items once, in a random order; the last batch holds what is left."""
    order = torch.from_numpy(rng.permutation(len(encoded)))
    for start in range(0, len(order), batch):
        yield encoded.batch(order[start : start + batch])


def epochs(encoded: EncodedItems, *, batch: int, rng: Generator) -> Iterator[TokenBatch]:
    """Batches without end, each pass over the items in a new random order; only full batches.

    Where there are fewer items than one batch holds, a batch is all of them.
    """
    size = min(batch, len(encoded))
    while True:
        yield from islice(one_pass(encoded, batch=size, rng=rng), len(encoded) // size)


def keep_items(task: Task, *, share: float, rng: Generator) -> list[Item]:
    """A share of a task's training items, at least one of each class.

    Args:
        task: the task; items without a label are of one class.
        share: of the training items, in (0, 1].
        rng: draws the items.

    Returns:
        max(round(share * items), classes) items.
    """
    order = [task.train[i] for i in rng.permutation(len(task.train))]
    first_of_class = {item.label: item for item in reversed(order)}
    kept = list(first_of_class.values())
    others = [item for item in order if first_of_class[item.label] is not item]
    return kept + others[: max(0, round(share * len(order)) - len(kept))]


def keep_of_tasks(tasks: Sequence[Task], *, share: float, rngs: Sequence[Generator]) -> list[Item]:
    """The kept items of several tasks, one after the other, each drawn from its own stream."""
    return [item for task, rng in zip(tasks, rngs, strict=True) for item in keep_items(task, share=share, rng=rng)]


@dataclass(frozen=True)
class TaskSequence:
    """A run's tasks in training order, as text and as tensors."""

    config: LabConfig
    """The run's settings."""
    tokenizer: Any
    """The base's tokenizer."""
    tasks: tuple[Task, ...]
    """The tasks in training order."""
    train: dict[str, EncodedItems]
    """Training items by task."""
    held_out: dict[str, EncodedItems]
    """Held-out items by task."""

    def memory(self, step: int, *, share: float) -> EncodedItems | None:
        """The items kept of the tasks before `step` (from 1); None at the first step."""
        past = self.tasks[: step - 1]
        if not past or share == 0:
            return None
        rngs = [generator_of("memory", self.config.seed, task.name) for task in past]
        return encode_items(self.tokenizer, keep_of_tasks(past, share=share, rngs=rngs))


def open_sequence(config: LabConfig, *, base: Path) -> TaskSequence:
    """Build a run's tasks, in the order in which its seed trains them."""
    suite = config.suite
    tasks = build_suite(config.tasks, seed=suite.seed, counts=suite.counts, folder=suite.folder)
    if config.order == "by_seed":
        tasks = tuple(tasks[i] for i in generator_of("task order", config.seed).permutation(len(tasks)))
    tokenizer = load_tokenizer(base, base=base)
    train = {task.name: encode_items(tokenizer, task.train) for task in tasks}
    return TaskSequence(
        config, tokenizer, tasks, train, {task.name: encode_items(tokenizer, task.test) for task in tasks}
    )
