"""Which old tasks a step lost: by its scores beyond their noise, or by its probes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from scipy.special import stdtrit

from geodiag.extraction.measurements.edits.judging import LEAST_P_FALL
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


def old_tasks(tasks: Sequence[str], probed: Iterable[str], step: int) -> tuple[str, ...]:
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
