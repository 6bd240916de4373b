"""Causes of forgetting as data: each tests the evidence of a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from geodiag.common.text import listed
from geodiag.explain.losses import OldTaskChange
from geodiag.explain.pairs import PAIR_SIGNALS_SHOWN, pair_place
from geodiag.explain.results import CauseFinding, Line, Section, lines_of
from geodiag.explain.subject import Subject
from geodiag.explain.text import MODERATE, number_words, percent_words, signed
from geodiag.stats.placement import LEAST_AT_STEP, LEAST_OTHERS, OUTER


@dataclass(frozen=True)
class StepEvidence:
    """A step with its evidence."""

    subject: Subject
    """The step."""
    changes: tuple[OldTaskChange, ...]
    """Score changes of the old tasks, the largest loss first."""
    sections: tuple[Section, ...]
    """Its evidence by section."""

    def line(self, name: str) -> Line | None:
        """A line of any section by name; None where there is none."""
        return next((line for line in self.lines() if line.name == name), None)

    def lines(self, prefix: str = "") -> list[Line]:
        """Lines of all sections whose name begins with `prefix`."""
        return [line for line in lines_of(self.sections) if line.name.startswith(prefix)]


@dataclass(frozen=True)
class Cause:
    """A possible cause of forgetting, with its test."""

    name: str
    """Its name in a verdict."""
    meaning: str
    """Its meaning, in one line."""
    find: Callable[[StepEvidence], CauseFinding | None]
    """Its test: the finding, or None where the step does not meet it."""


FAR = 2.0
"""Odds ratio from which a family's share is far from usual."""
SMALL_UPDATE, LARGE_UPDATE = 0.5, 1.5
"""Multiples of the median update norm of the other steps, below or above which a step is small or large."""
NEARLY_SAME = 0.5
"""Multiple of the median GC of the run's other pairs, below which two updates are nearly the same."""
SAME_GC, SAME_SAR = 0.05, 0.9
"""GC and SAR of updates that are nearly the same, in runs with too few other pairs."""


def no_change(evidence: StepEvidence) -> CauseFinding | None:
    """A step that left the weights as they were."""
    if evidence.subject.row["update_norm"] != 0:
        return None
    return CauseFinding("no change", (), (), "changed no weight that was compared", ("update_norm",))


def scaled_family(evidence: StepEvidence) -> CauseFinding | None:
    """A family far above its usual share."""
    return _family(evidence, FAR)


def shifted_family(evidence: StepEvidence) -> CauseFinding | None:
    """A family above its usual share."""
    return _family(evidence, 1.0)


def scaled_block(evidence: StepEvidence) -> CauseFinding | None:
    """A block far above its usual share."""
    return _above("block", evidence.lines("block:"), 1.0)


def not_learnt(evidence: StepEvidence) -> CauseFinding | None:
    """A step whose own task stayed low."""
    line, task = evidence.line("current"), evidence.subject.task
    if line is None or task is None or not line.warn:
        return None
    text = f"left its own task {evidence.subject.task_label} at {number_words(line.value)}, where {_usual_score(line)}"
    return CauseFinding(
        "not learnt", (task,), (evidence.subject.task_label,), text, (line.name,), line.track, sign=-1.0
    )


def repeat(evidence: StepEvidence) -> CauseFinding | None:
    """An update nearly the same as an old task's."""
    subject = evidence.subject
    compared = [row for row in subject.pairs if row["mean_conflict"] is not None]
    if not compared:
        return None
    row = min(compared, key=lambda pair: pair["mean_conflict"])
    others = [pair["mean_conflict"] for pair in subject.run_pairs if pair is not row]
    others = [gc for gc in others if gc is not None]
    if not _nearly_same(subject, row, others):
        return None
    usual = (
        f", GC {number_words(median(others))} being usual for the run's pairs" if len(others) >= LEAST_OTHERS else ""
    )
    numbers = f"GC {number_words(row['mean_conflict'])}, SAR {number_words(row['mean_sar'])}{usual}"
    old, label = row["old_task"], subject.label(row["old_task"])
    text = f"made an update much like that of {label} ({numbers})"
    return CauseFinding("repeat", (old,), (label,), text, (f"pair:{old}",))


def _nearly_same(subject: Subject, row: dict[str, Any], others: list[float]) -> bool:
    """Whether a pair's updates are nearly the same, given the GC of the run's other pairs."""
    gc, sar = row["mean_conflict"], row["mean_sar"] or 0.0
    if len(others) < LEAST_OTHERS:
        return bool(gc <= SAME_GC and sar >= SAME_SAR)
    place = pair_place(subject, row, "mean_conflict")
    return place is not None and place.unusual and bool(gc <= NEARLY_SAME * median(others))


def small_update(evidence: StepEvidence) -> CauseFinding | None:
    """A step with a far smaller update norm than usual."""
    return _norm(evidence, "small update", lambda ratio, z: ratio <= SMALL_UPDATE and z < 0)


def large_update(evidence: StepEvidence) -> CauseFinding | None:
    """A step with a far larger update norm than usual."""
    return _norm(evidence, "large update", lambda ratio, z: ratio >= LARGE_UPDATE and z > 0)


def tracked_signal(evidence: StepEvidence) -> CauseFinding | None:
    """An unusual signal, in the direction that goes with loss in this store."""
    for line in _signals(evidence):
        if line.place is None or line.track is None or not line.warn:
            continue
        z = line.place.z or 0.0
        if line.track.harmful(z) and abs(line.track.rho or 0.0) >= MODERATE:
            text = f"has an unusual {line.track.signal} ({number_words(line.value)}, robust z {signed(z, 1)})"
            return CauseFinding("signal", (line.name,), (line.label,), text, (line.name,), line.track, sign=z)
    return None


def high_run(evidence: StepEvidence) -> CauseFinding | None:
    """A signal in the outer percentiles of other runs at this step, in the direction that goes with loss in this store.

    Only where the step's forgetting is at most the median of those runs too.
    """
    forgetting = evidence.subject.place("forgetting")
    if forgetting is None or forgetting.at_step is None or forgetting.at_step > 50:
        return None
    for line in sorted(_signals(evidence), key=lambda line: -abs(line.track.rho or 0.0) if line.track else 0.0):
        place, track = line.place, line.track
        if place is None or track is None or place.at_step is None or place.among_at_step < LEAST_AT_STEP:
            continue
        side = place.at_step - 50
        if abs(side) >= 50 - OUTER and track.harmful(side) and abs(track.rho or 0.0) >= MODERATE:
            end = "high" if side > 0 else "low"
            text = f"has a {end} {track.signal} for its step index ({number_words(line.value)}, "
            text += f"percentile {place.at_step:.0f} among {place.among_at_step} of other runs)"
            return CauseFinding("run", (line.name,), (line.label,), text, (line.name,), track, sign=side)
    return None


def tracked_pair(evidence: StepEvidence) -> CauseFinding | None:
    """A lost task whose pair with the new one is unusual in the direction that goes with loss in this store."""
    rows = {row["old_task"]: row for row in evidence.subject.pairs}
    for change in evidence.changes:
        if not change.is_lost:
            continue
        row, label = rows[change.task], evidence.subject.label(change.task)
        for name in PAIR_SIGNALS_SHOWN:
            place, track = pair_place(evidence.subject, row, name), evidence.subject.store.correlations.pairs[name]
            if place is None or not place.unusual or abs(track.rho or 0.0) < MODERATE:
                continue
            if track.harmful(place.z or 0.0):
                text = f"has an unusual {track.signal} with {label}, which it lost "
                text += f"({number_words(row[name])}, robust z {signed(place.z, 1)})"
                lines = (f"pair:{change.task}",)
                return CauseFinding("pair", (change.task,), (label,), text, lines, track, sign=place.z or 0.0)
    return None


def _usual_score(line: Line) -> str:
    """Median scores of other runs on the task, and of the run's other steps on theirs, as clauses."""
    peers, others = line.numbers["peers"], line.numbers["others"]
    clauses = [] if others is None else [f"{number_words(others)} is usual at the run's other steps"]
    clauses += [] if peers is None else [f"{number_words(peers)} in other runs of this size"]
    return listed(clauses)


def _signals(evidence: StepEvidence) -> list[Line]:
    """Lines on signals of the step, in descending order of weight."""
    step = next(section for section in evidence.sections if section.name == "step")
    lines = [line for line in (*step.lines, *step.more) if line.name != "current"]
    return sorted(lines, key=lambda line: -line.weight)


def _family(evidence: StepEvidence, least: float) -> CauseFinding | None:
    return _above("family", [*evidence.lines("family:"), *evidence.lines("task_family:")], least)


def _above(cause: str, lines: list[Line], least: float) -> CauseFinding | None:
    """Parts with unusually large shares, in descending order of odds ratio, the first of which is at least `least`."""
    more = sorted((line for line in lines if line.warn and _odds(line) > 1), key=_odds, reverse=True)
    if not more or _odds(more[0]) < least:
        return None
    first = more[0]
    in_task = first.name.startswith("task_")
    same = [line for line in more if line.name.startswith("task_") == in_task]
    source = "the new task's update" if in_task else "its change"
    parts = [
        f"{percent_words(line.value)} of {source} in {line.label} ({percent_words(_usual(line))} is usual)"
        for line in same
    ]
    names = tuple(line.name.split(":", 1)[1] for line in same)
    labels = tuple(line.label for line in same)
    return CauseFinding(cause, names, labels, f"put {listed(parts)}", tuple(line.name for line in same), first.track)


def _odds(line: Line) -> float:
    return line.numbers.get("odds_ratio") or 0.0


def _usual(line: Line) -> float | None:
    return line.numbers.get("usual")


def _norm(evidence: StepEvidence, cause: str, test: Callable[[float, float], bool]) -> CauseFinding | None:
    line = evidence.line("update_norm")
    if line is None or line.value is None or line.place is None or not line.place.unusual:
        return None
    series = evidence.subject.series("update_norm")
    usual = median(v for step, v in series.items() if v is not None and step != evidence.subject.step)
    if usual == 0 or not test(line.value / usual, line.place.z or 0.0):
        return None
    text = f"moved the weights by {number_words(line.value)}, where {number_words(usual)} is usual for the run"
    return CauseFinding(cause, (), (), text, (line.name,), line.track, sign=line.place.z or 0.0)


CAUSES: tuple[Cause, ...] = (
    Cause("no change", "the step changed no weight that was compared", no_change),
    Cause("family", "a family took far more of the step's change than usual", scaled_family),
    Cause("block", "a block took far more of the step's change than usual", scaled_block),
    Cause("not learnt", "the step's own task stayed low", not_learnt),
    Cause("repeat", "the new task's update is much like an old one's", repeat),
    Cause("small update", "the step moved the weights far less than usual", small_update),
    Cause("family", "a family took more of the step's change than usual", shifted_family),
    Cause("large update", "the step moved the weights far more than usual", large_update),
    Cause("signal", "a signal that goes with forgetting in this store is unusual", tracked_signal),
    Cause("pair", "the pair of new and lost task is unusual in a way that goes with loss", tracked_pair),
    Cause("run", "a signal that goes with forgetting in this store is far out among runs at this step", high_run),
)
"""All possible causes, the most specific first."""


def step_findings(evidence: StepEvidence) -> tuple[CauseFinding, ...]:
    """All findings in the order of `CAUSES`, each cause once."""
    findings: dict[str, CauseFinding] = {}
    for cause in CAUSES:
        finding = None if cause.name in findings else cause.find(evidence)
        if finding is not None:
            findings[cause.name] = finding
    return tuple(findings.values())
