"""The plan of a run: its updates, the active set of each step, and the pairs to compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geodiag.runs import Manifest


@dataclass(frozen=True)
class Update:
    """One base-relative or incremental update of a run: the difference of two checkpoints."""

    object: str
    """`task:<name>` or `state`, as in the store."""
    role: str
    """`task` or `state`."""
    task: str
    """The task trained at `step`."""
    step: int
    """The step that made it, from 1."""
    new: Path
    """The checkpoint it leads to."""
    old: Path
    """The checkpoint it starts from."""


@dataclass(frozen=True)
class Pair:
    """Two updates to compare; indices into `Plan.updates`."""

    kind: str
    """`active` (two members of an active set) or `state` (the state and a member)."""
    step: int
    """The step it is stored under: the first one at which both are active."""
    i: int
    j: int


@dataclass(frozen=True)
class Plan:
    """What one run's extraction computes on every layer."""

    manifest: Manifest
    updates: tuple[Update, ...]
    """D_1, S_1, D_2, S_2, ...: by step, so that a pass over them reads each checkpoint once."""
    active: tuple[tuple[int, ...], ...]
    """For each step t the members of the active set A_t."""
    pairs: tuple[Pair, ...]
    """Every pair once: comparing two updates does not depend on the step."""
    stored_steps: int = 0
    """Steps whose rows are there already; only later ones yield rows, and `pairs` are theirs."""

    @property
    def n_steps(self) -> int:
        """T."""
        return len(self.active)

    @property
    def new(self) -> range:
        """The updates of the steps that are not stored yet."""
        return range(2 * self.stored_steps, len(self.updates))

    @property
    def needed(self) -> tuple[int, ...]:
        """The updates that the new steps' rows speak of, in rising order: the new ones, and those they meet."""
        return tuple(sorted({*self.new}.union(*self.active[self.stored_steps :])))

    def after(self, stored_steps: int) -> Plan:
        """What is left where the first `stored_steps` steps have been extracted before."""
        pairs = tuple(pair for pair in self.pairs if pair.step > stored_steps)
        return replace(self, pairs=pairs, stored_steps=stored_steps)

    @property
    def ends(self) -> tuple[list[int], list[int]]:
        """The updates i and j of every pair, as two lists."""
        i: list[int] = []
        j: list[int] = []
        for pair in self.pairs:
            i.append(pair.i)
            j.append(pair.j)
        return i, j


def make_plan(manifest: Manifest) -> Plan:
    """The plan of `manifest`, with the updates, active sets and pairs of arXiv 2605.09608, Sec. 2-3."""
    updates: list[Update] = []
    active: list[tuple[int, ...]] = []
    before = manifest.base
    for t, step in enumerate(manifest.steps, start=1):
        # D_t is the expert less the base, or theta_t - theta_(t-1)
        new, old = step.state, before
        if manifest.updates == "experts":
            assert step.expert is not None  # the manifest has checked that every step names one
            new, old = step.expert, manifest.base
        updates.append(Update(f"task:{step.task}", "task", step.task, t, new, old))
        # S_t = theta_t - theta_base
        updates.append(Update("state", "state", step.task, t, step.state, manifest.base))
        active.append(_active_set(manifest, t))
        before = step.state
    return Plan(manifest, tuple(updates), tuple(active), tuple(_pairs(active)))


def active_rows(plan: Plan) -> list[Mapping[str, Any]]:
    """The active updates of each step: rows of the table `active`."""
    rows: list[Mapping[str, Any]] = []
    for step, members in enumerate(plan.active, start=1):
        for i in members:
            update = plan.updates[i]
            task = update.task if update.role == "task" else None
            rows.append({"step": step, "object": update.object, "role": update.role, "task": task})
    return rows


def task_index(step: int) -> int:
    """Where D_t stands in `Plan.updates`."""
    return 2 * step - 2


def state_index(step: int) -> int:
    """Where S_t stands in `Plan.updates`."""
    return 2 * step - 1


def _active_set(manifest: Manifest, t: int) -> tuple[int, ...]:
    """A_t: all tasks so far, the last N, or the previous state and the new task."""
    if manifest.memory == "anchor":
        return (task_index(t),) if t == 1 else (state_index(t - 1), task_index(t))
    first = 1 if manifest.memory == "all" else max(1, t - int(manifest.memory) + 1)
    return tuple(range(task_index(first), task_index(t) + 1, 2))  # every other update is a state's


def _pairs(active: Sequence[tuple[int, ...]]) -> Iterator[Pair]:
    seen: set[tuple[int, int]] = set()
    for t, members in enumerate(active, start=1):
        for n, j in enumerate(members):
            for i in members[:n]:
                if (i, j) not in seen:
                    seen.add((i, j))
                    yield Pair("active", t, i, j)
        for member in members:
            yield Pair("state", t, state_index(t), member)
