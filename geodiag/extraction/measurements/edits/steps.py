"""The steps of a run that are edited, from its losses, scores and allocations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from scipy.special import stdtrit

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
from geodiag.extraction.measurements.edits.judging import LEAST_P_FALL
from geodiag.models.groups import ParameterGroup
from geodiag.stats.score_noise import SampledScore, joint_quantile, score_difference


@dataclass(frozen=True)
class TaskChange:
    """What a step did to one task."""

    task: str
    p_fall: float
    """Fall of the mean target probability of its probes, -1..1."""
    delta_loss: float
    """Rise of their loss, nats."""
    is_lost: bool


def tasks_to_lose(tasks: Sequence[str], probed: Iterable[str], step: int) -> tuple[str, ...]:
    """Tasks with probes that a step can lose: trained before it, or never trained in the run.

    Args:
        tasks: trained tasks by step.
        probed: tasks with probes.
        step: from 1.
    """
    new, earlier = tasks[step - 1], set(tasks[: step - 1])
    return tuple(task for task in probed if task != new and (task in earlier or task not in tasks))


def task_changes(
    step: int, tasks: Sequence[str], *, losses: pl.DataFrame, scores: pl.DataFrame
) -> dict[str, TaskChange]:
    """Changes of some tasks over a step, the largest fall first.

    Lost by scores: the interval of the score's change, joint over the tasks, lies below 0. Where a task's scores have
    no noise or are missing, lost by probes: the lower bound of the rise in loss (Student, joint) is above 0 and above
    the precision, and p_target fell by at least 0.02.

    Args:
        step: from 1.
        tasks: that it can lose.
        losses: the table, of the run.
        scores: the table, of the run.
    """
    before, after = (_by_task(losses, at) for at in (step - 1, step))
    sampled = [{row["task"]: _sampled(row) for row in _by_task(scores, at).values()} for at in (step - 1, step)]
    shared = [task for task in tasks if task in before and task in after and after[task]["delta_loss"] is not None]
    changes = []
    for task in shared:
        by_score = _lost_by_score(sampled[0].get(task), sampled[1].get(task), len(shared))
        fall = before[task]["p_target"] - after[task]["p_target"]
        lost = _lost_by_probes(after[task], fall, len(shared)) if by_score is None else by_score
        changes.append(TaskChange(task, fall, after[task]["delta_loss"], lost))
    return {change.task: change for change in sorted(changes, key=lambda change: (-change.p_fall, change.task))}


def _by_task(frame: pl.DataFrame, step: int) -> dict[str, Mapping[str, Any]]:
    return {row["task"]: row for row in frame.filter(pl.col("step") == step).iter_rows(named=True)}


def _sampled(row: Mapping[str, Any]) -> SampledScore:
    n, stderr = row.get("n"), row.get("stderr")
    return SampledScore(row["score"], None if n is None else int(n), stderr)


def _lost_by_score(before: SampledScore | None, after: SampledScore | None, count: int) -> bool | None:
    """None where the change or its noise is not known."""
    if before is None or after is None:
        return None
    interval = score_difference(after, before, joint_quantile(count))
    return None if interval is None else interval[1] < 0


def _lost_by_probes(row: Mapping[str, Any], fall: float, count: int) -> bool:
    n, se = int(row["n_examples"]), row["delta_loss_se"]
    if n < 2 or se is None:
        return False
    low = row["delta_loss"] - float(stdtrit(n - 1, 1 - 0.05 / (2 * count))) * se
    return low > max(0.0, row["precision_floor"] or 0.0) and fall >= LEAST_P_FALL


ALL_LOST = "all"
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
        old = tasks_to_lose(tasks, probed, step)
        changes = task_changes(step, old, losses=tables["losses"], scores=tables["scores"])
        lost = tuple(change.task for change in changes.values() if change.is_lost)
        lost = lost or (tuple(changes)[:1] if every_step else ())
        allocations = _allocations(tables["attribution"], step)
        lost = tuple(task for task in lost if task in allocations)
        if lost:
            new = tasks[step - 1] if tasks[step - 1] in probed else None
            groups = _groups(tables["attribution"], step)
            side, fall = tuple(task for task in changes if task not in lost), changes[lost[0]].p_fall
            made = EditStep(step, lost, side, new, fall, groups, _squared(tables["attribution"], step), (), ())
            named = (*lost, *_learnt(tables["losses"], step, new))
            allocations = {task: own for task, own in allocations.items() if task in named}
            yield _with_edits(made, allocations, run, projects=any(task in tasks for task in lost), experts=experts)


def _learnt(losses: pl.DataFrame, step: int, new: str | None) -> tuple[str, ...]:
    """The new task where its loss fell beyond noise, else nothing."""
    row = _by_task(losses, step).get(new or "")
    if new is None or row is None or row["delta_loss_se"] is None:
        return ()
    quantile = float(stdtrit(max(int(row["n_examples"]) - 1, 1), 0.975))
    return (new,) if row["delta_loss"] + quantile * row["delta_loss_se"] < 0 else ()


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
