"""Score changes of the old tasks at a step, against the noise of the scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from geodiag.explain.results import Line, Outcome, Section
from geodiag.explain.subject import Subject
from geodiag.explain.words import count, listed, number_words, signed
from geodiag.stats.placement import Placement, place_among
from geodiag.stats.score_noise import SampledScore, items_needed, joint_quantile, score_difference, spread

LOST, GAINED, NOISE, UNKNOWN = "lost", "gained", "within noise", "noise unknown"
"""What a change is called: its interval is under 0, above 0, includes 0, or cannot be told."""

_WORDS = {
    LOST: "beyond noise",
    GAINED: "a gain beyond noise",
    NOISE: "within the noise of the scores",
    UNKNOWN: "its noise is not known: the scores name neither n nor stderr",
}


@dataclass(frozen=True)
class Loss:
    """What became of one old task."""

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
    """The normal quantile of its intervals."""

    @property
    def drop(self) -> float | None:
        """now - before."""
        return None if self.before is None else round(self.now.value - self.before.value, 12)

    @property
    def forgetting(self) -> float | None:
        """now - best."""
        return None if self.best is None else round(self.now.value - self.best.value, 12)

    @cached_property
    def drop_interval(self) -> tuple[float, float] | None:
        """The interval of the drop."""
        return None if self.before is None else score_difference(self.now, self.before, self.quantile)

    @cached_property
    def forgetting_interval(self) -> tuple[float, float] | None:
        """The interval of the loss from the best."""
        return None if self.best is None else score_difference(self.now, self.best, self.quantile)

    @property
    def called(self) -> str | None:
        """What the drop is called; None where there is none."""
        return None if self.drop is None else call(self.drop_interval)

    @property
    def is_lost(self) -> bool:
        """Whether the step lost some of it, as far as can be told."""
        return self.called == LOST or (self.called == UNKNOWN and (self.drop or 0.0) < 0)


def call(interval: tuple[float, float] | None) -> str:
    """What a change with this interval is called."""
    if interval is None:
        return UNKNOWN
    return LOST if interval[1] < 0 else GAINED if interval[0] > 0 else NOISE


def losses(subject: Subject) -> list[Loss]:
    """The old tasks that were scored after the step, the largest drop first."""
    scored = [pair["old_task"] for pair in subject.pairs if subject.score(pair["old_task"]) is not None]
    quantile = joint_quantile(len(scored))
    found = [_loss(subject, task, quantile) for task in scored]
    return sorted(found, key=lambda loss: (loss.drop is None, loss.drop or 0.0, loss.task))


def outcome(subject: Subject, found: list[Loss]) -> Outcome:
    """What the scores say of the step."""
    if not subject.pairs:
        return "first step"
    if all(loss.drop is None for loss in found):
        return "not scored"
    return "lost" if any(loss.is_lost for loss in found) else "within noise"


def lost_section(subject: Subject, found: list[Loss]) -> Section:
    """The section on what was lost."""
    kind = outcome(subject, found)
    if kind == "first step":
        lead = "This is the first step: no task was trained before it, so there was nothing to lose."
        return Section("lost", "What was lost", lead)
    lines = [_task_line(subject, loss) for loss in found]
    weighty = [line for line in lines if line.warn]
    shown = weighty or lines[:1]
    rest = [line for line in lines if line not in shown]
    over_all = [line for line in (_mean_line(subject),) if line is not None]
    return Section(
        "lost",
        "What was lost",
        _lead(subject, found, kind),
        tuple(over_all + shown),
        tuple(rest),
        tuple(_notes(subject, found)),
    )


def _loss(subject: Subject, task: str, quantile: float) -> Loss:
    now = subject.score(task)
    assert now is not None
    earlier = [(step, score) for step in range(1, subject.step) if (score := subject.score(task, at=step))]
    step, best = max(earlier, key=lambda pair: (pair[1].value, -pair[0]), default=(None, None))
    before = subject.score(task, at=subject.step - 1)
    return Loss(task, now, before, best, step, quantile)


def _lead(subject: Subject, found: list[Loss], kind: Outcome) -> str:
    if kind == "not scored":
        return "What the step did to old tasks is not known: they were not scored both before and after it."
    lost = [loss for loss in found if loss.is_lost]
    scored = sum(loss.drop is not None for loss in found)
    earlier = [
        subject.label(loss.task) for loss in found if not loss.is_lost and call(loss.forgetting_interval) == LOST
    ]
    before = f" Lost from its best before this step: {listed(earlier)}." if earlier else ""
    if kind == "within noise":
        return f"Nothing beyond the noise of the scores: none of {count(scored, 'old task')} clearly fell.{before}"
    worst = f"{subject.label(lost[0].task)} by {number_words(-(lost[0].drop or 0.0))}"
    if scored == 1:
        return f"The one old task fell: {worst}."
    many = f"All {scored} old tasks" if len(lost) == scored else f"{len(lost)} of {scored} old tasks"
    return f"{many} fell, most of all {worst}.{before}"


def _task_line(subject: Subject, loss: Loss) -> Line:
    label, called = subject.label(loss.task), loss.called
    numbers = {"now": loss.now.value, "forgetting": loss.forgetting, "best_step": loss.best_step}
    numbers |= {"before": None if loss.before is None else loss.before.value}
    numbers |= {"best": None if loss.best is None else loss.best.value}
    for name, ends in (("drop", loss.drop_interval), ("forgetting", loss.forgetting_interval)):
        low, high = ends or (None, None)
        numbers |= {f"{name}_low": low, f"{name}_high": high}
    if called == NOISE and loss.before is not None and loss.drop:
        mean = (loss.now.value + loss.before.value) / 2
        numbers["items_needed"] = items_needed(mean, loss.drop, loss.quantile)
    return Line(
        name=f"task:{loss.task}",
        label=label,
        value=loss.drop,
        text=_task_text(label, loss),
        place=_pair_place(subject, loss),
        weight=max(0.0, -(loss.drop or 0.0)),
        numbers=numbers,
        course=tuple(_value(subject.score(loss.task, at=step)) for step in subject.steps),
        at=subject.at,
        warn=loss.is_lost,
    )


def _task_text(label: str, loss: Loss) -> str:
    if loss.drop is None or loss.before is None:
        told = f"{label} {number_words(loss.now.value)} now, not scored one step earlier"
    else:
        ends = loss.drop_interval
        bounds = "" if ends is None else f" [{signed(ends[0])}, {signed(ends[1])}]"
        told = (
            f"{label} {number_words(loss.before.value)} → {number_words(loss.now.value)}: {signed(loss.drop)}{bounds}"
        )
        told += f", {_WORDS[loss.called or UNKNOWN]}"
    if loss.forgetting is None or loss.best is None or loss.best_step is None:
        return told
    called = {LOST: "", UNKNOWN: "", NOISE: ", within noise", GAINED: ""}[call(loss.forgetting_interval)]
    best = f"{number_words(loss.best.value)} at step {loss.best_step}"
    return f"{told}; {signed(loss.forgetting)} from its best, {best}{called}"


def _pair_place(subject: Subject, loss: Loss) -> Placement | None:
    """Where a drop stands among all drops of old tasks."""
    if loss.drop is None:
        return None
    reference = subject.evidence.pair_reference("drop")
    run = reference.of_run(subject.run)
    run.remove(loss.drop)
    place = place_among(loss.drop, run, floor=spread(loss.now))
    return subject.in_store(place, loss.drop, reference)


def _mean_line(subject: Subject) -> Line | None:
    """The old tasks together."""
    value = subject.row["mean_drop"]
    if value is None:
        return None
    place, row = subject.place("mean_drop"), subject.row
    told = f"Old tasks together: mean change {signed(value)}, mean score now {number_words(row['old_mean'])}, "
    told += f"forgetting {signed(row['forgetting'])}"
    return Line(
        name="mean_drop",
        label="Mean change of old tasks",
        value=value,
        text=told,
        place=place,
        weight=float("inf"),
        numbers={name: row[name] for name in ("old_mean", "forgetting", "retention_loss", "worst_drop")},
        course=tuple(subject.course("mean_drop").values()),
        at=subject.at,
        warn=place is not None and place.stands_out and (place.z or 0.0) < 0,
    )


def _notes(subject: Subject, found: list[Loss]) -> list[str]:
    unscored = [subject.label(p["old_task"]) for p in subject.pairs if subject.score(p["old_task"]) is None]
    notes = [f"Not scored after this step: {listed(unscored)}."] if unscored else []
    if any(loss.drop_interval for loss in found):
        notes.append(
            f"Intervals in brackets hold together at 95 % for {count(len(found), 'old task')}. Each score counts as a "
            "sample of its own; if the same items were scored twice, the truth is narrower."
        )
    noise = [loss for loss in found if loss.called == NOISE and (loss.drop or 0.0) < 0]
    if noise:
        names = listed([subject.label(loss.task) for loss in noise])
        notes.append(f"Called noise, not loss: {names}.")
    return notes


def _value(score: SampledScore | None) -> float | None:
    return None if score is None else score.value
