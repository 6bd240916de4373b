"""The steps of a run that are edited, from its losses, scores and allocations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from geodiag.extraction.measurements.attribution.rows import ROUTING
from geodiag.extraction.measurements.edits.catalogue import (
    TOP_SHARES,
    Edit,
    by_harm,
    choosing_edits,
    is_matrix,
    mean_harm,
    normalised_benefit,
    normalised_harm,
)
from geodiag.extraction.measurements.edits.lost import old_tasks, task_changes
from geodiag.models.groups import ParameterGroup

ALL = "all"
"""`chosen_for` of edits that are chosen for all lost tasks together."""


@dataclass(frozen=True)
class EditStep:
    """One step to be edited."""

    step: int
    lost: tuple[str, ...]
    """Old tasks that it lost, the worst first."""
    side: tuple[str, ...]
    """Other old tasks and skills."""
    new: str | None
    """The task trained, where it has probes enough."""
    fall: float
    """Fall of p_target of the worst lost task."""
    groups: Mapping[str, ParameterGroup]
    """Of the model, by name, without their tensors."""
    squared: Mapping[str, float]
    """Share of the squared step norm by group."""
    edits: tuple[Edit, ...]
    """Of the choosing half."""
    own_edits: tuple[Edit, ...]
    """Of the choosing half, for the worst lost task alone; empty where it is the only one."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """All that are scored."""
        return (*self.lost, *self.side, *((self.new,) if self.new else ()))

    @property
    def matrices(self) -> list[ParameterGroup]:
        """The target matrices."""
        return [group for group in self.groups.values() if is_matrix(group)]


def edit_steps(
    run: str,
    tasks: Sequence[str],
    *,
    probed: Sequence[str],
    tables: Mapping[str, pl.DataFrame],
    every_step: bool,
    experts: bool,
) -> Iterator[EditStep]:
    """Steps to be edited, in order.

    Args:
        run: its id, for the seeds of random sets.
        tasks: trained tasks by step.
        probed: tasks with probes enough in both halves.
        tables: `losses`, `scores` and `attribution` of the run.
        every_step: also steps that lost nothing; the task that fell most then stands for a lost one.
        experts: whether the new task has an update of its own.
    """
    for step in range(2, len(tasks) + 1):
        old = old_tasks(tasks, probed, step)
        changes = task_changes(step, old, losses=tables["losses"], scores=tables["scores"])
        lost = tuple(change.task for change in changes.values() if change.is_lost)
        lost = lost or (tuple(changes)[:1] if every_step else ())
        allocations = _allocations(tables["attribution"], step)
        lost = tuple(task for task in lost if task in allocations)
        if lost:
            new = tasks[step - 1] if tasks[step - 1] in probed else None
            groups = _groups(tables["attribution"], step)
            made = EditStep(
                step,
                lost,
                tuple(task for task in changes if task not in lost),
                new,
                changes[lost[0]].p_fall,
                groups,
                _squared(tables["attribution"], step),
                (),
                (),
            )
            yield _with_edits(made, allocations, run, projects=any(task in tasks for task in lost), experts=experts)


def _with_edits(
    step: EditStep, allocations: Mapping[str, Mapping[str, float]], run: str, *, projects: bool, experts: bool
) -> EditStep:
    own_allocation = allocations.get(step.new or "")
    benefit = {} if own_allocation is None else normalised_benefit(own_allocation)
    harm = mean_harm([allocations[task] for task in step.lost])
    names = (run, str(step.step), *step.lost)
    edits = choosing_edits(step.groups, harm=harm, benefit=benefit, names=names, project=projects, transplant=experts)
    own: list[Edit] = []
    if len(step.lost) > 1:
        worst = normalised_harm(allocations[step.lost[0]])
        tops = by_harm(step.matrices, worst, benefit)[: len(TOP_SHARES)]
        own = [replace(edit, name=f"{edit.name} for {step.lost[0]}") for edit in tops]
    return replace(step, edits=tuple(edits), own_edits=tuple(own))


def _rows(attribution: pl.DataFrame, step: int) -> pl.DataFrame:
    return attribution.filter((pl.col("step") == step) & (pl.col("family") != ROUTING))


def _groups(attribution: pl.DataFrame, step: int) -> dict[str, ParameterGroup]:
    columns = _rows(attribution, step).select("group", "block", "family").unique(maintain_order=True)
    return {group: ParameterGroup(group, block, family, ()) for group, block, family in columns.iter_rows()}


def _squared(attribution: pl.DataFrame, step: int) -> dict[str, float]:
    columns = _rows(attribution, step).select("group", "squared_share").unique(subset="group", maintain_order=True)
    return {group: share or 0.0 for group, share in columns.iter_rows()}


def _allocations(attribution: pl.DataFrame, step: int) -> dict[str, dict[str, float]]:
    """By task and group, the allocation of the choosing half."""
    by_task: dict[str, dict[str, float]] = {}
    columns = _rows(attribution, step).select("task", "group", "allocation_choosing")
    for task, group, value in columns.iter_rows():
        by_task.setdefault(task, {})[group] = value or 0.0
    return by_task
