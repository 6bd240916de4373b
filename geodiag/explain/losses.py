"""Score changes of the old tasks at a step, against the noise of the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from geodiag.common.text import counted, listed
from geodiag.explain.results import Line, Section, StepOutcome
from geodiag.explain.subject import Subject
from geodiag.explain.text import number_words, signed
from geodiag.stats.placement import Placement, place_among
from geodiag.stats.score_noise import SampledScore, items_needed, joint_quantile, score_difference, spread

LOST, GAINED, NOISE, UNKNOWN = "lost", "gained", "within noise", "noise unknown"
"""Kinds of change: the interval is below 0, above 0, includes 0, or is not defined."""

_WORDS = {
    LOST: "beyond noise",
    GAINED: "a gain beyond noise",
    NOISE: "within the noise of the scores",
    UNKNOWN: "its noise is not known: the scores name neither n nor stderr",
}


@dataclass(frozen=True)
class OldTaskChange:
    """Score change of one old task at the step, and since its best."""

    task: str
    """The task."""
    now: SampledScore
    """Its score after the step."""
    before: SampledScore | None
    """Its score one step earlier."""
    best: SampledScore | None
    """Its best score at an earlier step, the base's not counted."""
    best_step: int | None
    """The first step that reached it."""
    quantile: float
    """The normal quantile of its intervals, such as 1.96."""

    @property
    def drop(self) -> float | None:
        """now - before, in -1..1; None where it was not scored before."""
        return None if self.before is None else round(self.now.value - self.before.value, 12)

    @property
    def forgetting(self) -> float | None:
        """now - best, in -1..1; None where it was not scored earlier."""
        return None if self.best is None else round(self.now.value - self.best.value, 12)

    @cached_property
    def drop_interval(self) -> tuple[float, float] | None:
        """The interval of the drop; None where the noise of a score is not known."""
        return None if self.before is None else score_difference(self.now, self.before, self.quantile)

    @cached_property
    def forgetting_interval(self) -> tuple[float, float] | None:
        """The interval of the forgetting; None where the noise of a score is not known."""
        return None if self.best is None else score_difference(self.now, self.best, self.quantile)

    @property
    def kind(self) -> str | None:
        """`LOST`, `GAINED`, `NOISE` or `UNKNOWN`; None where there is no drop."""
        return None if self.drop is None else kind_of_change(self.drop_interval)

    @property
    def is_lost(self) -> bool:
        """Whether the step lost some of it: beyond noise, or by any amount where the noise is not known."""
        return self.kind == LOST or (self.kind == UNKNOWN and (self.drop or 0.0) < 0)


def kind_of_change(interval: tuple[float, float] | None) -> str:
    """`LOST`, `GAINED`, `NOISE` or `UNKNOWN` for a change with this interval."""
    if interval is None:
        return UNKNOWN
    return LOST if interval[1] < 0 else GAINED if interval[0] > 0 else NOISE


def old_task_changes(subject: Subject) -> list[OldTaskChange]:
    """Changes of the old tasks that were scored after the step, the largest loss first."""
    scored = [pair["old_task"] for pair in subject.pairs if subject.score(pair["old_task"]) is not None]
    quantile = joint_quantile(len(scored))
    changes = [_change(subject, task, quantile) for task in scored]
    return sorted(changes, key=lambda change: (change.drop is None, change.drop or 0.0, change.task))


def outcome(subject: Subject, changes: Sequence[OldTaskChange]) -> StepOutcome:
    """StepOutcome of the old tasks at the step, from the scores."""
    if not subject.pairs:
        return "first step"
    if all(change.drop is None for change in changes):
        return "not scored"
    return "lost" if any(change.is_lost for change in changes) else "within noise"


def lost_section(subject: Subject, changes: Sequence[OldTaskChange]) -> Section:
    """Section on score changes of the old tasks."""
    kind = outcome(subject, changes)
    if kind == "first step":
        lead = "This is the first step: no task was trained before it, so there was nothing to lose."
        return Section("lost", "What was lost", lead)
    lines = [_task_line(subject, change) for change in changes]
    warned = [line for line in lines if line.warn]
    shown = warned or lines[:1]
    rest = [line for line in lines if line not in shown]
    mean = [line for line in (_mean_line(subject),) if line is not None]
    return Section(
        "lost",
        "What was lost",
        _lead(subject, changes, kind),
        tuple(mean + shown),
        tuple(rest),
        tuple(_notes(subject, changes)),
    )


def _change(subject: Subject, task: str, quantile: float) -> OldTaskChange:
    now = subject.score(task)
    assert now is not None
    earlier = [(step, score) for step in range(1, subject.step) if (score := subject.score(task, at=step))]
    step, best = max(earlier, key=lambda pair: (pair[1].value, -pair[0]), default=(None, None))
    before = subject.score(task, at=subject.step - 1)
    return OldTaskChange(task, now, before, best, step, quantile)


def _lead(subject: Subject, changes: Sequence[OldTaskChange], kind: StepOutcome) -> str:
    if kind == "not scored":
        return "What the step did to old tasks is not known: they were not scored both before and after it."
    lost = [change for change in changes if change.is_lost]
    scored = sum(change.drop is not None for change in changes)
    earlier = [
        subject.label(change.task)
        for change in changes
        if not change.is_lost and kind_of_change(change.forgetting_interval) == LOST
    ]
    before = f" Lost from its best before this step: {listed(earlier)}." if earlier else ""
    if kind == "within noise":
        return f"Nothing beyond the noise of the scores: none of {counted(scored, 'old task')} clearly fell.{before}"
    worst = f"{subject.label(lost[0].task)} by {number_words(-(lost[0].drop or 0.0))}"
    if scored == 1:
        return f"The one old task fell: {worst}."
    many = f"All {scored} old tasks" if len(lost) == scored else f"{len(lost)} of {scored} old tasks"
    return f"{many} fell, most of all {worst}.{before}"


def _task_line(subject: Subject, change: OldTaskChange) -> Line:
    label = subject.label(change.task)
    numbers = {"now": change.now.value, "forgetting": change.forgetting, "best_step": change.best_step}
    numbers |= {"before": None if change.before is None else change.before.value}
    numbers |= {"best": None if change.best is None else change.best.value}
    for name, ends in (("drop", change.drop_interval), ("forgetting", change.forgetting_interval)):
        low, high = ends or (None, None)
        numbers |= {f"{name}_low": low, f"{name}_high": high}
    if change.kind == NOISE and change.before is not None and change.drop:
        mean = (change.now.value + change.before.value) / 2
        numbers["items_needed"] = items_needed(mean, change.drop, change.quantile)
    return Line(
        name=f"task:{change.task}",
        label=label,
        value=change.drop,
        text=_task_text(label, change),
        place=_pair_place(subject, change),
        weight=max(0.0, -(change.drop or 0.0)),
        numbers=numbers,
        course=tuple(_value(subject.score(change.task, at=step)) for step in subject.steps),
        at=subject.at,
        warn=change.is_lost,
    )


def _task_text(label: str, change: OldTaskChange) -> str:
    if change.drop is None or change.before is None:
        words = f"{label} {number_words(change.now.value)} now, not scored one step earlier"
    else:
        ends = change.drop_interval
        bounds = "" if ends is None else f" [{signed(ends[0])}, {signed(ends[1])}]"
        words = f"{label} {number_words(change.before.value)} → {number_words(change.now.value)}: "
        words += f"{signed(change.drop)}{bounds}, {_WORDS[change.kind or UNKNOWN]}"
    if change.forgetting is None or change.best is None or change.best_step is None:
        return words
    noise = ", within noise" if kind_of_change(change.forgetting_interval) == NOISE else ""
    best = f"{number_words(change.best.value)} at step {change.best_step}"
    return f"{words}; {signed(change.forgetting)} from its best, {best}{noise}"


def _pair_place(subject: Subject, change: OldTaskChange) -> Placement | None:
    """Placement of a drop among all drops of old tasks."""
    if change.drop is None:
        return None
    reference = subject.store.pair_reference("drop")
    run = reference.of_run(subject.run)
    run.remove(change.drop)
    place = place_among(change.drop, run, floor=spread(change.now))
    return subject.in_store(place, change.drop, reference)


def _mean_line(subject: Subject) -> Line | None:
    """Line on the mean change of the old tasks."""
    value = subject.row["mean_drop"]
    if value is None:
        return None
    place, row = subject.place("mean_drop"), subject.row
    words = f"Old tasks together: mean change {signed(value)}, mean score now {number_words(row['old_mean'])}, "
    words += f"forgetting {signed(row['forgetting'])}"
    return Line(
        name="mean_drop",
        label="Mean change of old tasks",
        value=value,
        text=words,
        place=place,
        weight=float("inf"),
        numbers={name: row[name] for name in ("old_mean", "forgetting", "retention_loss", "worst_drop")},
        course=tuple(subject.series("mean_drop").values()),
        at=subject.at,
        warn=place is not None and place.stands_out and (place.z or 0.0) < 0,
    )


def _notes(subject: Subject, changes: Sequence[OldTaskChange]) -> list[str]:
    unscored = [subject.label(p["old_task"]) for p in subject.pairs if subject.score(p["old_task"]) is None]
    notes = [f"Not scored after this step: {listed(unscored)}."] if unscored else []
    if any(change.drop_interval for change in changes):
        notes.append(
            f"Intervals in brackets hold together at 95 % for {counted(len(changes), 'old task')}. Each score counts "
            "as a sample of its own; if the same items were scored twice, the truth is narrower."
        )
    noise = [change for change in changes if change.kind == NOISE and (change.drop or 0.0) < 0]
    if noise:
        names = listed([subject.label(change.task) for change in noise])
        notes.append(f"Called noise, not loss: {names}.")
    return notes


def _value(score: SampledScore | None) -> float | None:
    return None if score is None else score.value
