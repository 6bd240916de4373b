"""What an edit restores of the lost tasks and keeps of the new one, from scores by example.

Symbols, by example of one task: b before the step, a after it, e after the edited step; probabilities of the target in
0..1 unless losses are named.

    restored = sum_j mean(e_j - a_j) / sum_j mean(b_j - a_j)   over lost tasks j
    kept     = mean(e - b) / mean(a - b)                       of the new task

"Restores at least half" and "keeps nine tenths" are tested without ratios, as means of (e - a) - 0.5 (b - a) and
(e - b) - 0.9 (a - b) above 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geodiag.stats.score_noise import MeanInterval, Numbers, RatioInterval, mean_interval, ratio_interval

HALF, NINE_TENTHS = 0.5, 0.9
"""Shares that an edit must restore and keep."""
LEAST_P_FALL = 0.02
"""Fall of the mean target probability under which a task does not count as lost."""
LOCATED_MATRICES, LOCATED_SQUARED = 0.25, 0.35
"""Most of the matrices and of the squared step that a location may take."""
LEAST_SCALE = 0.5
"""The least factor that stands for a step that was merely too long."""
EXACT_FALL = 3
"""Judging examples that must no longer be answered exactly for exact answers to decide too."""


@dataclass(frozen=True)
class TaskScores:
    """One task's examples under one model."""

    loss: Numbers
    """(n,) nats."""
    p: Numbers
    """(n,) exp(-loss)."""
    exact: Numbers
    """(n,) 0 or 1."""


Scores = Mapping[str, TaskScores]
"""By task."""


@dataclass(frozen=True)
class StepScores:
    """A step as edits are judged by it."""

    before: Scores
    after: Scores
    lost: tuple[str, ...]
    """Old tasks that the step lost, the worst first."""
    new: str | None
    """The task trained; None where it has no probes."""

    def of(self, tasks: Sequence[str]) -> StepScores:
        """The same for some of the lost tasks."""
        return StepScores(self.before, self.after, tuple(task for task in self.lost if task in tasks), self.new)

    def shown(self, *, level: float = 0.95) -> tuple[str, ...]:
        """Lost tasks whose probability fell beyond noise, here as well."""
        return tuple(
            task for task in self.lost if mean_interval(self.before[task].p - self.after[task].p, level=level).is_above
        )

    def learnt(self, *, level: float = 0.95) -> bool:
        """Whether the new task's probability rose beyond noise."""
        if self.new is None or self.new not in self.after:
            return False
        return mean_interval(self.after[self.new].p - self.before[self.new].p, level=level).is_above


@dataclass(frozen=True)
class Judgement:
    """What one edit does on the judging half; intervals hold jointly over the edits taken."""

    restored: RatioInterval
    """Of the lost probability, over all lost tasks together."""
    restores: MeanInterval
    """Of (e - a) - 0.5 (b - a)."""
    restored_exact: float | None
    """Of the lost exact answers; None where fewer than 3 were lost, and they do not decide."""
    kept: RatioInterval | None
    """Of the new task's gain; None where it was not learnt."""
    keeps: MeanInterval | None
    """Of (e - b) - 0.9 (a - b); None where the task was not learnt."""
    side_losses: tuple[str, ...]
    """Tasks that the step did not lose and the edited step does."""

    @property
    def restores_half(self) -> bool:
        """Whether half of the loss comes back, beyond noise, and half of the exact answers where they decide."""
        return self.restores.is_above and (self.restored_exact is None or self.restored_exact >= HALF)

    @property
    def keeps_most(self) -> bool:
        """Whether at least nine tenths of the new task's gain stay, beyond noise."""
        return self.keeps is not None and self.keeps.is_above

    @property
    def fails(self) -> bool:
        """Whether less than half comes back or less than nine tenths stay, beyond noise."""
        return self.restores.is_below or (self.keeps is not None and self.keeps.is_below)


def judge(edited: Scores, step: StepScores, *, level: float) -> Judgement:
    """Judges one edit by a half's examples.

    Args:
        edited: scores after the edited step.
        step: the step, with at least one lost task.
        level: coverage of each interval.
    """
    numerators = [edited[task].p - step.after[task].p for task in step.lost]
    falls = [step.before[task].p - step.after[task].p for task in step.lost]
    restored = ratio_interval(numerators, falls, level=level)
    restores = mean_interval(*(x - HALF * y for x, y in zip(numerators, falls, strict=True)), level=level)
    kept = keeps = None
    if step.new is not None and step.learnt():
        gain = step.after[step.new].p - step.before[step.new].p
        stays = edited[step.new].p - step.before[step.new].p
        kept = ratio_interval([stays], [gain], level=level)
        keeps = mean_interval(stays - NINE_TENTHS * gain, level=level)
    side = side_losses(edited, step)
    return Judgement(restored, restores, _restored_exact(edited, step), kept, keeps, side)


def _restored_exact(edited: Scores, step: StepScores) -> float | None:
    lost = sum(float((step.before[task].exact - step.after[task].exact).sum()) for task in step.lost)
    if lost < EXACT_FALL:
        return None
    back = sum(float((edited[task].exact - step.after[task].exact).sum()) for task in step.lost)
    return back / lost


def side_losses(edited: Scores, step: StepScores, *, level: float = 0.95) -> tuple[str, ...]:
    """Tasks that the step did not lose and that are lost after the edited step.

    Lost: the loss rose beyond noise, jointly over these tasks, and the mean probability fell by at least 0.02.

    Args:
        edited: scores after the edited step.
        step: the step.
        level: joint coverage.
    """
    side = [task for task in edited if task not in step.lost and task != step.new]
    joint = 1 - (1 - level) / max(len(side), 1)
    return tuple(task for task in side if is_lost(step.before[task], edited[task], level=joint))


def is_lost(before: TaskScores, after: TaskScores, *, level: float) -> bool:
    """Whether the loss rose beyond noise and the mean probability of the target fell by at least 0.02."""
    rise = mean_interval(after.loss - before.loss, level=level)
    return rise.is_above and float(np.mean(before.p - after.p)) >= LEAST_P_FALL


@dataclass(frozen=True)
class ControlTest:
    """An edit against its random or other controls."""

    exceeds_all: bool
    """Whether its mean restored probability is above that of every control."""
    difference: MeanInterval
    """Of e - mean over controls of e, paired by example."""
    restored: float | None
    """What the controls restore on the mean, as a share."""

    @property
    def beats(self) -> bool:
        """Whether it exceeds them all, and their mean beyond the paired interval."""
        return self.exceeds_all and self.difference.is_above


def against_controls(edited: Scores, controls: Sequence[Scores], step: StepScores, *, level: float) -> ControlTest:
    """Compares what an edit restores with what its controls restore.

    Args:
        edited: scores after the edited step.
        controls: scores of at least one control.
        step: the step.
        level: coverage of the interval.
    """
    own = sum(float(edited[task].p.mean()) for task in step.lost)
    others = [sum(float(control[task].p.mean()) for task in step.lost) for control in controls]
    means = {task: np.mean([control[task].p for control in controls], axis=0) for task in step.lost}
    difference = mean_interval(*(edited[task].p - means[task] for task in step.lost), level=level)
    fall = sum(float((step.before[task].p - step.after[task].p).mean()) for task in step.lost)
    back = sum(float((means[task] - step.after[task].p).mean()) for task in step.lost)
    return ControlTest(all(own > other for other in others), difference, back / fall if fall != 0 else None)


def is_small(share_of_matrices: float, squared_share: float) -> bool:
    """Whether a set is at most a quarter of the matrices and 35 % of the squared step."""
    return share_of_matrices <= LOCATED_MATRICES + 1e-9 and squared_share <= LOCATED_SQUARED + 1e-9


def scores_of_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Scores]:
    """Scores by edit and task from rows of `edit_examples` of one step and half.

    Args:
        rows: in the order of their examples.
    """
    columns: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        columns.setdefault(row["edit"], {}).setdefault(row["task"], []).append(row)
    return {
        edit: {
            task: TaskScores(*(_column(own, name) for name in ("loss", "p_target", "exact")))
            for task, own in tasks.items()
        }
        for edit, tasks in columns.items()
    }


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    return np.array([float(row[name]) for row in rows], dtype=np.float64)


def scale_factor(name: str) -> float | None:
    """The factor of a scaled step by the edit's name; None of other edits."""
    return float(name.split()[1]) if name.startswith("scale ") else None
