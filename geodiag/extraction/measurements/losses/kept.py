"""What a state leaves for later ones to be compared with: scores, hidden states and its head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from geodiag.models.divergence import MOST_POSITIONS, Head
from geodiag.models.probes import TaskProbe
from geodiag.models.scores import Batch, ExampleScore


class HiddenStates:
    """Normalised final hidden states of a task's examples at one state, at most 64 positions an example.

    Args:
        examples: the task's.
        folder: where they wait; None keeps them in memory.
        name: of the file in the folder.
    """

    def __init__(self, examples: Sequence[TaskProbe], folder: Path | None, name: str) -> None:
        self.counts = [min(example.n_target, MOST_POSITIONS) for example in examples]
        """Positions of each example."""
        self._file = None if folder is None else folder / f"{name}.pt"
        self._parts: dict[int, Tensor] = {}
        self._all: Tensor | None = None

    def keep(self, batch: Batch, hidden: Tensor) -> None:
        """Takes a batch's hidden states (p, width)."""
        owners = batch.owners
        for row, index in enumerate(batch.indices):
            self._parts[index] = hidden[owners == row][: self.counts[index]].cpu()

    def close(self) -> None:
        """After the last batch: joined, and on disk where there is a folder."""
        joined = torch.cat([self._parts.pop(n) for n in range(len(self.counts))])
        if self._file is None:
            self._all = joined
        else:
            torch.save(joined, self._file)

    def read(self, device: torch.device) -> Tensor:
        """(p, width) on a device, example after example."""
        if self._all is None:
            assert self._file is not None
            return torch.load(self._file, map_location=device, weights_only=True)
        return self._all.to(device)

    def drop(self) -> None:
        """Removes its file."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


@dataclass(frozen=True)
class KeptTask:
    """One task at one state."""

    scores: list[ExampleScore]
    hidden: HiddenStates


@dataclass
class KeptState:
    """One state's tasks, as far as they were run, and its head."""

    head: Head
    """On the CPU."""
    plain_head: bool
    """Whether the head remakes the model's own logits, so that divergences can be taken."""
    tasks: dict[str, KeptTask] = field(default_factory=dict)

    def drop(self) -> None:
        """Removes what waits on disk."""
        for task in self.tasks.values():
            task.hidden.drop()


class Waiting:
    """Where hidden states wait: in memory, or in a folder for the time being where they do not fit."""

    def __init__(self, *, needed: int, memory: int) -> None:
        self._folder = TemporaryDirectory(prefix="geodiag-losses-") if needed > memory else None

    def hidden(self, examples: Sequence[TaskProbe], name: str) -> HiddenStates:
        """Room for a task's hidden states under a name used once."""
        folder = None if self._folder is None else Path(self._folder.name)
        return HiddenStates(examples, folder, name)

    def close(self) -> None:
        """Removes the folder."""
        if self._folder is not None:
            self._folder.cleanup()
