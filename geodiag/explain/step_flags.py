"""What the judged edits of a step say of its cause: flags by rule, the headline, the edit to advise.

Rules, all on the judging half, with intervals that hold jointly over the edits taken:

    located            a set of at most a quarter of the matrices and 35 % of the squared step restores half,
                       keeps 90 %, beats its matched random sets, and its complement restores less
    shared directions  projecting out the lost tasks' directions restores half, keeps 90 % and beats both its controls
    step too long      a scale of 0.5 or more restores half and keeps 90 %
    trade-off          every edit taken restores under half or keeps under 90 %, beyond noise
    undecided          none of these: too few probes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import polars as pl

from geodiag.extraction.measurements.edits.judging import (
    LEAST_SCALE,
    ControlTest,
    Judgement,
    Scores,
    StepScores,
    against_controls,
    is_small,
    judge,
    scale_factor,
    scores_of_rows,
)
from geodiag.stats.score_noise import MeanInterval, examples_needed, joint_level

Flag = Literal[
    "located", "shared directions", "step too long", "trade-off", "undecided", "not learnt", "probes do not show it"
]
CAUSE_FLAGS: tuple[Flag, ...] = ("located", "shared directions", "step too long")
"""Flags that name a cause, in the order of the headline."""


@dataclass(frozen=True)
class JudgedEdit:
    """One edit of the judging half as it is stored."""

    name: str
    kind: str
    groups: tuple[str, ...]
    """Groups that it changes; empty for all."""
    factor: float | None
    """Of a scaled step."""
    share_of_matrices: float
    squared_share: float
    scores: Scores
    chosen_for: tuple[str, ...] = ()
    """Lost tasks that it was chosen for; empty for all."""
    controls: tuple[Scores, ...] = ()
    """Scores of its controls."""
    complement: Scores | None = None
    """Scores after its complement was put back."""


@dataclass(frozen=True)
class EditVerdict:
    """A judged edit with its tests."""

    edit: JudgedEdit
    judgement: Judgement
    control: ControlTest | None
    """None where it has no control."""
    complement: Judgement | None

    @property
    def succeeds(self) -> bool:
        """Whether it restores half and keeps 90 %."""
        return self.judgement.restores_half and self.judgement.keeps_most

    @property
    def flag(self) -> Flag | None:
        """The cause that it shows."""
        if not self.succeeds:
            return None
        if self.edit.kind == "scale":
            whole = not self.edit.groups
            return "step too long" if whole and (self.edit.factor or 0.0) >= LEAST_SCALE else None
        if self.control is None or not self.control.beats:
            return None
        if self.edit.kind == "project":
            return "shared directions"
        small = is_small(self.edit.share_of_matrices, self.edit.squared_share)
        return "located" if small and self._complement_restores_less else None

    @property
    def _complement_restores_less(self) -> bool:
        if self.complement is None:
            return False
        own, other = self.judgement.restored.estimate, self.complement.restored.estimate
        return own is not None and other is not None and other < own


@dataclass(frozen=True)
class StepFlags:
    """What the edits of one step say."""

    verdicts: tuple[EditVerdict, ...]
    """Of every edit taken."""
    flags: tuple[Flag, ...]
    """All that hold, the headline first; empty where the step lost nothing."""
    examples_needed: int | None
    """Examples a task and half that would decide, where it is undecided for too few; None where that is not known."""

    @property
    def headline(self) -> Flag | None:
        """The flag that is named first."""
        return self.flags[0] if self.flags else None

    @cached_property
    def best(self) -> EditVerdict | None:
        """The edit to advise: the highest lower bound of restored among those that keep 90 % and lose nothing else."""
        fits = [
            verdict
            for verdict in self.verdicts
            if verdict.judgement.keeps_most
            and not verdict.judgement.side_losses
            and (verdict.judgement.restored.low or 0.0) > 0
        ]
        return max(fits, key=lambda verdict: verdict.judgement.restored.low or 0.0, default=None)


def step_flags(edits: Sequence[JudgedEdit], step: StepScores, *, level: float = 0.95) -> StepFlags:
    """Judges the edits taken of a step and names what they show.

    Args:
        edits: the edits taken, with their controls.
        step: the judging half before and after the step, its lost tasks and the new one.
        level: joint coverage of the edits' intervals.
    """
    if not step.lost:
        return StepFlags((), (), None)
    shown = step.shown()
    if not shown:
        return StepFlags((), ("probes do not show it",), None)
    step = step.of(shown)
    each = joint_level(len(edits), level=level)
    verdicts = tuple(_verdict(edit, step, level=each) for edit in edits if _tasks(edit, step))
    if not step.learnt():
        return StepFlags(verdicts, ("not learnt",), None)
    shown_flags = {verdict.flag for verdict in verdicts}
    causes = tuple(flag for flag in CAUSE_FLAGS if flag in shown_flags)
    if causes:
        return StepFlags(verdicts, causes, None)
    if verdicts and all(verdict.judgement.fails for verdict in verdicts):
        return StepFlags(verdicts, ("trade-off",), None)
    return StepFlags(verdicts, ("undecided",), _needed(verdicts, level=each))


def _tasks(edit: JudgedEdit, step: StepScores) -> tuple[str, ...]:
    return tuple(task for task in step.lost if not edit.chosen_for or task in edit.chosen_for)


def _verdict(edit: JudgedEdit, step: StepScores, *, level: float) -> EditVerdict:
    own = step.of(_tasks(edit, step))
    control = against_controls(edit.scores, edit.controls, own, level=level) if edit.controls else None
    other = None if edit.complement is None else judge(edit.complement, own, level=level)
    return EditVerdict(edit, judge(edit.scores, own, level=level), control, other)


def _needed(verdicts: Sequence[EditVerdict], *, level: float) -> int | None:
    """The least number of examples with which some edit would succeed, or every edit fail, at these means."""
    succeed = [_largest([v.judgement.restores, v.judgement.keeps], level) for v in verdicts]
    numbers = [number for number in succeed if number is not None]
    fail = [_smallest([v.judgement.restores, v.judgement.keeps], level) for v in verdicts]
    if all(number is not None for number in fail):
        numbers.append(max(number for number in fail if number is not None))
    return min(numbers, default=None)


def _largest(intervals: Sequence[MeanInterval | None], level: float) -> int | None:
    """Examples with which all intervals would lie above 0; None where some mean is not."""
    above = [interval for interval in intervals if interval is not None and interval.estimate > 0]
    numbers = [number for one in above if (number := examples_needed(one, level=level)) is not None]
    return max(numbers) if len(numbers) == len(intervals) else None


def _smallest(intervals: Sequence[MeanInterval | None], level: float) -> int | None:
    """Examples with which some interval would lie below 0; None where no mean is."""
    numbers = [
        examples_needed(interval, level=level)
        for interval in intervals
        if interval is not None and interval.estimate < 0
    ]
    return min((number for number in numbers if number is not None), default=None)


CONTROL_KINDS = ("random", "complement", "project_random")
"""Kinds of edits that others are compared with."""


def judged_step(
    edits: pl.DataFrame, edit_examples: pl.DataFrame, *, judging: pl.DataFrame, new: str
) -> tuple[list[JudgedEdit], StepScores]:
    """The edits taken of one step and its scores, from the store.

    Args:
        edits: rows of one run and step.
        edit_examples: rows of the same.
        judging: the columns `task` and `example` of the judging half.
        new: the task that the step trains.
    """
    own = edit_examples.join(judging, on=["task", "example"], how="semi").sort("task", "example")
    scores = scores_of_rows(own.to_dicts())
    judged = edits.filter(pl.col("half") == "judging")
    rows = judged.unique(subset=["edit", "chosen_for"], maintain_order=True).to_dicts()
    restored = judged.filter(pl.col("restored_p").is_not_null())
    before, after = scores["before"], scores["after"]
    falls = {task: float((before[task].p - after[task].p).mean()) for task in restored["task"].unique()}
    step = StepScores(before, after, tuple(sorted(falls, key=lambda task: -falls[task])), new if new in after else None)
    taken = [row for row in rows if row["kind"] not in CONTROL_KINDS]
    return [_judged_edit(row, rows, scores) for row in taken], step


def _judged_edit(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], scores: Mapping[str, Scores]) -> JudgedEdit:
    name, chosen_for = row["edit"], row["chosen_for"]
    same = [other for other in rows if other["chosen_for"] == chosen_for]
    if row["kind"] == "project":
        controls = [other["edit"] for other in same if other["kind"] == "project_random"]
    else:
        controls = [
            other["edit"] for other in same if other["kind"] == "random" and other["edit"].endswith(f"as {name}")
        ]
    rest = [other["edit"] for other in same if other["edit"] == f"complement of {name}"]
    return JudgedEdit(
        name,
        row["kind"],
        tuple(row["groups"]),
        scale_factor(name),
        row["share_of_matrices"],
        row["squared_share"],
        scores[name],
        () if chosen_for == "all" else (chosen_for,),
        tuple(scores[other] for other in controls),
        scores[rest[0]] if rest else None,
    )
