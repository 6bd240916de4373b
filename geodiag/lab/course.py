"""A run's course: its tasks in training order, as tensors, with what is kept of the past."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geodiag.lab.config import LabConfig
from geodiag.lab.data import Encoded, encode
from geodiag.lab.memory import keep_of_tasks
from geodiag.lab.model import load_tokenizer
from geodiag.lab.seeds import generator_of
from geodiag.lab.suite import Task, build_suite


@dataclass(frozen=True)
class Course:
    """A run's tasks in training order, as text and as tensors."""

    config: LabConfig
    """The run's settings."""
    tokenizer: Any
    """The base's tokenizer."""
    tasks: tuple[Task, ...]
    """The tasks in training order."""
    train: dict[str, Encoded]
    """Training items by task."""
    held_out: dict[str, Encoded]
    """Held-out items by task."""

    def memory(self, step: int, *, share: float) -> Encoded | None:
        """What is kept of the tasks before `step` (from 1); none at the first step."""
        past = self.tasks[: step - 1]
        if not past or share == 0:
            return None
        rngs = [generator_of("memory", self.config.seed, task.name) for task in past]
        return encode(self.tokenizer, keep_of_tasks(past, share=share, rngs=rngs))


def open_course(config: LabConfig, *, base: Path) -> Course:
    """Build a run's tasks, in the order in which its seed trains them."""
    suite = config.suite
    tasks = build_suite(config.tasks, seed=suite.seed, counts=suite.counts, folder=suite.folder)
    if config.order == "by_seed":
        tasks = tuple(tasks[i] for i in generator_of("task order", config.seed).permutation(len(tasks)))
    tokenizer = load_tokenizer(base)
    train = {task.name: encode(tokenizer, task.train) for task in tasks}
    return Course(config, tokenizer, tasks, train, {task.name: encode(tokenizer, task.test) for task in tasks})
