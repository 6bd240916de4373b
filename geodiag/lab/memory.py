"""What is kept of past tasks for replay."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.random import Generator

from geodiag.lab.suite import Item, Task


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
