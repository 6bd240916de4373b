"""The parts that probe readers share: the example itself, and one made from a plain record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geodiag.errors import ProbesError
from geodiag.runs.names import fold_task_name

FIELDS = ("task", "prompt", "target")
"""The keys of a probe file; all are text."""

LINE = '{"task": "...", "prompt": "...", "target": "..."}'
"""What one line of a probe file looks like."""


@dataclass(frozen=True)
class Probe:
    """One example of a task."""

    task: str
    """The task's folded name."""
    prompt: str
    """What comes before the answer; no loss is taken on it. May be empty."""
    target: str
    """The answer, on which the loss is taken."""
    where: str
    """`file:line`, or `file, row n` where a file has no lines."""

    def digest(self, seed: int) -> str:
        """A hash of the example's text and a seed: its place in an order that any machine repeats."""
        text = json.dumps([seed, self.task, self.prompt, self.target])
        return hashlib.sha256(text.encode()).hexdigest()


def text_probe(record: Mapping[str, Any], *, where: str) -> Probe:
    """A probe from a record with the keys of `FIELDS`.

    Raises:
        ProbesError: a key is missing, is no text, or is empty where text is needed.
    """
    for key in FIELDS:
        if key not in record:
            raise ProbesError(f"no key {key!r}", where=where, fix=f"write {LINE}")
        if not isinstance(record[key], str):
            what = f"{key!r} is {json.dumps(record[key], default=str)[:60]}, not text"
            raise ProbesError(what, where=where, fix=f"write {LINE}")
    task, prompt, target = (record[key] for key in FIELDS)
    if not fold_task_name(task).strip("_"):
        raise ProbesError("'task' is empty", where=where, fix="name the task as in run.yaml")
    if not target.strip():
        raise ProbesError("'target' is empty", where=where, fix="give the answer that the loss is taken on")
    return Probe(fold_task_name(task), prompt, target, where)
