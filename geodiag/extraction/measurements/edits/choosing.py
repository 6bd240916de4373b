"""Which edits are taken from the choosing half to the judging half: at most one of each class, chosen with a margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from geodiag.extraction.measurements.edits.catalogue import Edit
from geodiag.extraction.measurements.edits.judging import LEAST_SCALE, Scores, StepScores, is_small

EditClass = Literal["scale", "part", "set", "project", "transplant"]
"""Scaled as a whole, scaled on some groups, some groups reverted, projected, transplanted."""
CLASSES: tuple[EditClass, ...] = ("scale", "part", "set", "project", "transplant")
KEPT_MARGIN = 0.95
"""Share of the new task's gain that an edit must keep on the choosing half: picks at .9 fail on the other as often."""
RESTORED_LEAST = 0.5


@dataclass(frozen=True)
class Candidate:
    """One edit of the choosing half with its size and scores."""

    edit: Edit
    share_of_matrices: float
    """Of the target matrices, those it changes."""
    squared_share: float
    """Of the squared norm of the step, that of the groups it changes."""
    scores: Scores


def class_of(edit: Edit) -> EditClass | None:
    """The class of an edit; None of controls, which are never taken."""
    if edit.kind == "scale":
        return "part" if edit.groups else "scale"
    if edit.kind in ("project", "transplant"):
        return "project" if edit.kind == "project" else "transplant"
    return "set" if edit.kind in ("family", "band", "top", "harm") else None


def choose(candidates: Sequence[Candidate], step: StepScores, *, learnt: bool) -> dict[EditClass, Candidate]:
    """The best edit of each class by the choosing half.

    Best is, among edits that keep .95 and restore half, the one that restores most; small sets and scales of .5 or more
    come first, since only they can be a cause. Where none does, the one that is least short of either.

    Args:
        candidates: the edits scored.
        step: scores of the choosing half before and after the step.
        learnt: whether the new task's gain is beyond noise; if not, what is kept does not count.
    """
    classes: dict[EditClass, list[Candidate]] = {}
    for candidate in candidates:
        kind = class_of(candidate.edit)
        if kind is not None:
            classes.setdefault(kind, []).append(candidate)
    return {
        kind: max(classes[kind], key=lambda candidate: _merit(candidate, step, learnt=learnt))
        for kind in CLASSES
        if kind in classes
    }


def _merit(candidate: Candidate, step: StepScores, *, learnt: bool) -> tuple[bool, bool, float]:
    restored, kept = restored_and_kept(candidate.scores, step)
    short = min(restored - RESTORED_LEAST, kept - KEPT_MARGIN) if learnt else restored - RESTORED_LEAST
    if short >= 0:
        return True, can_be_cause(candidate), restored
    return False, False, short


def can_be_cause(candidate: Candidate) -> bool:
    """Whether a flag can rest on an edit of this size."""
    if class_of(candidate.edit) == "set":
        return is_small(candidate.share_of_matrices, candidate.squared_share)
    return class_of(candidate.edit) != "scale" or candidate.edit.factor >= LEAST_SCALE


def restored_and_kept(edited: Scores, step: StepScores) -> tuple[float, float]:
    """Shares of the lost probability that come back and of the gained one that stay; 0 and 1 where undefined."""
    fall = sum(float((step.before[task].p - step.after[task].p).mean()) for task in step.lost)
    back = sum(float((edited[task].p - step.after[task].p).mean()) for task in step.lost)
    restored, kept = (back / fall if fall != 0 else 0.0), 1.0
    if step.new is not None and step.new in edited:
        before, after, now = (float(scores[step.new].p.mean()) for scores in (step.before, step.after, edited))
        kept = (now - before) / (after - before) if after != before else 1.0
    return restored, kept


def edit_sizes(edit: Edit, squared: Mapping[str, float], matrices: Sequence[str]) -> tuple[float, float]:
    """Shares of the matrices and of the squared step norm that an edit changes.

    Args:
        edit: the edit.
        squared: ||Delta_l||_F^2 by group, of every group.
        matrices: names of the target matrices.
    """
    groups = edit.groups or tuple(squared)
    own, total = set(groups) & set(matrices), sum(squared.values())
    return len(own) / len(matrices), sum(squared[name] for name in groups) / total if total > 0 else 0.0
