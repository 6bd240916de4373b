"""Causes of forgetting as data: each tests the evidence of a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from geodiag.explain.losses import Loss
from geodiag.explain.pairs import PAIR_SIGNALS_SHOWN, pair_place
from geodiag.explain.results import CauseFinding, Line, Section
from geodiag.explain.subject import Subject
from geodiag.explain.words import MODERATE, listed, number_words, percent_words, signed
from geodiag.stats.placement import LEAST_AT_STEP, LEAST_OTHERS, OUTER


@dataclass(frozen=True)
class Case:
    """A step with its evidence."""

    subject: Subject
    """The step."""
    losses: tuple[Loss, ...]
    """What became of old tasks."""
    sections: tuple[Section, ...]
    """Its sections."""

    def line(self, name: str) -> Line | None:
        """A line by name."""
        return next((line for line in self.lines() if line.name == name), None)

    def lines(self, prefix: str = "") -> list[Line]:
        """Lines whose name begins so, of all sections."""
        found = (line for section in self.sections for line in (*section.lines, *section.more))
        return [line for line in found if line.name.startswith(prefix)]


@dataclass(frozen=True)
class Cause:
    """One way to stand out."""

    name: str
    """What a verdict calls it."""
    meaning: str
    """What it says, in one line."""
    find: Callable[[Case], CauseFinding | None]
    """Looks for it."""


FAR = 2.0
"""Times the usual odds from which a family's share is far from usual."""
SMALL, LARGE = 0.5, 1.5
"""Times the median update norm of the other steps under or over which a step is small or large."""
LIKE = 0.5
"""Times the median GC of the run's other pairs under which two updates are much alike."""
SAME_GC, SAME_SAR = 0.05, 0.9
"""GC and SAR of updates that are nearly the same, where there are no other pairs to compare with."""


def no_change(case: Case) -> CauseFinding | None:
    """A step that left the weights as they were."""
    if case.subject.row["update_norm"] != 0:
        return None
    return CauseFinding("no change", (), (), "changed no weight that was compared", ("update_norm",))


def scaled_family(case: Case) -> CauseFinding | None:
    """A family far above its usual share."""
    return _family(case, FAR)


def shifted_family(case: Case) -> CauseFinding | None:
    """A family above its usual share."""
    return _family(case, 1.0)


def scaled_block(case: Case) -> CauseFinding | None:
    """A block far above its usual share."""
    return _above("block", case.lines("block:"), 1.0)


def not_learnt(case: Case) -> CauseFinding | None:
    """A step whose own task stayed low."""
    line, task = case.line("current"), case.subject.task
    if line is None or task is None or not line.warn:
        return None
    told = f"left its own task {case.subject.task_label} at {number_words(line.value)}, where {_usual_score(line)}"
    return CauseFinding("not learnt", (task,), (case.subject.task_label,), told, (line.name,), line.track, sign=-1.0)


def repeat(case: Case) -> CauseFinding | None:
    """An update much like an old task's."""
    known = [row for row in case.subject.pairs if row["mean_conflict"] is not None]
    if not known:
        return None
    row = min(known, key=lambda pair: pair["mean_conflict"])
    others = [
        pair["mean_conflict"]
        for pair in case.subject.run_pairs
        if pair["mean_conflict"] is not None and pair is not row
    ]
    gc, sar = row["mean_conflict"], row["mean_sar"]
    if len(others) < LEAST_OTHERS:
        if gc > SAME_GC or (sar or 0.0) < SAME_SAR:
            return None
        usual = ""
    else:
        place = pair_place(case.subject, row, "mean_conflict")
        if place is None or not place.unusual or gc > LIKE * median(others):
            return None
        usual = f", GC {number_words(median(others))} being usual for the run's pairs"
    old = row["old_task"]
    alike = f"GC {number_words(gc)}, SAR {number_words(sar)}{usual}"
    told = f"made an update much like that of {case.subject.label(old)} ({alike})"
    return CauseFinding("repeat", (old,), (case.subject.label(old),), told, (f"pair:{old}",))


def small_update(case: Case) -> CauseFinding | None:
    """A step that moved the weights far less than usual."""
    return _norm(case, "small update", lambda ratio, z: ratio <= SMALL and z < 0)


def large_update(case: Case) -> CauseFinding | None:
    """A step that moved the weights far more than usual."""
    return _norm(case, "large update", lambda ratio, z: ratio >= LARGE and z > 0)


def tracked_signal(case: Case) -> CauseFinding | None:
    """A signal that stands out in the direction that goes with loss in this store."""
    for line in _signals(case):
        if line.place is None or line.track is None or not line.warn:
            continue
        z = line.place.z or 0.0
        if line.track.harmful(z) and abs(line.track.rho or 0.0) >= MODERATE:
            told = f"has an unusual {line.track.signal} ({number_words(line.value)}, robust z {signed(z, 1)})"
            return CauseFinding("signal", (line.name,), (line.label,), told, (line.name,), line.track, sign=z)
    return None


def high_run(case: Case) -> CauseFinding | None:
    """A signal far out among other runs at this step, in the direction that goes with loss in this store.

    It is named only where the step's forgetting is on the worse side of those runs' too.
    """
    forgetting = case.subject.place("forgetting")
    if forgetting is None or forgetting.at_step is None or forgetting.at_step > 50:
        return None
    for line in sorted(_signals(case), key=lambda line: -abs(line.track.rho or 0.0) if line.track else 0.0):
        place, track = line.place, line.track
        if place is None or track is None or place.at_step is None or place.among_at_step < LEAST_AT_STEP:
            continue
        side = place.at_step - 50
        if abs(side) >= 50 - OUTER and track.harmful(side) and abs(track.rho or 0.0) >= MODERATE:
            told = (
                f"has a {'high' if side > 0 else 'low'} {track.signal} for its step index ({number_words(line.value)}, "
            )
            told += f"percentile {place.at_step:.0f} among {place.among_at_step} of other runs)"
            return CauseFinding("run", (line.name,), (line.label,), told, (line.name,), track, sign=side)
    return None


def tracked_pair(case: Case) -> CauseFinding | None:
    """A lost task whose pair with the new one is unusual in the direction that goes with loss in this store."""
    rows = {row["old_task"]: row for row in case.subject.pairs}
    for loss in case.losses:
        if not loss.is_lost:
            continue
        for name in PAIR_SIGNALS_SHOWN:
            place, track = pair_place(case.subject, rows[loss.task], name), case.subject.evidence.tracks.pairs[name]
            if place is None or not place.unusual or abs(track.rho or 0.0) < MODERATE:
                continue
            if track.harmful(place.z or 0.0):
                label = case.subject.label(loss.task)
                told = f"has an unusual {track.signal} with {label}, which it lost "
                told += f"({number_words(rows[loss.task][name])}, robust z {signed(place.z, 1)})"
                return CauseFinding(
                    "pair", (loss.task,), (label,), told, (f"pair:{loss.task}",), track, sign=place.z or 0.0
                )
    return None


def _usual_score(line: Line) -> str:
    """What other runs reach on the task, and other steps on theirs."""
    peers, others = line.numbers["peers"], line.numbers["others"]
    known = [] if others is None else [f"{number_words(others)} is usual at the run's other steps"]
    known += [] if peers is None else [f"{number_words(peers)} in other runs of this size"]
    return listed(known)


def _signals(case: Case) -> list[Line]:
    """Signals of the step, the weightiest first."""
    step = next(section for section in case.sections if section.name == "step")
    lines = [line for line in (*step.lines, *step.more) if line.name != "current"]
    return sorted(lines, key=lambda line: -line.weight)


def _family(case: Case, least: float) -> CauseFinding | None:
    return _above("family", [*case.lines("family:"), *case.lines("task_family:")], least)


def _above(cause: str, lines: list[Line], least: float) -> CauseFinding | None:
    """Parts that took more than their usual share, the furthest off by at least so many times the odds."""
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


def _norm(case: Case, cause: str, test: Callable[[float, float], bool]) -> CauseFinding | None:
    line = case.line("update_norm")
    if line is None or line.value is None or line.place is None or not line.place.unusual:
        return None
    course = case.subject.course("update_norm")
    usual = median(v for step, v in course.items() if v is not None and step != case.subject.step)
    if usual == 0 or not test(line.value / usual, line.place.z or 0.0):
        return None
    told = f"moved the weights by {number_words(line.value)}, where {number_words(usual)} is usual for the run"
    return CauseFinding(cause, (), (), told, (line.name,), line.track, sign=line.place.z or 0.0)


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
"""Every way, the most specific first."""


def findings(case: Case) -> tuple[CauseFinding, ...]:
    """Everything that stands out, in order, each cause once."""
    found: dict[str, CauseFinding] = {}
    for cause in CAUSES:
        finding = None if cause.name in found else cause.find(case)
        if finding is not None:
            found[cause.name] = finding
    return tuple(found.values())
