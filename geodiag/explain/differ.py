"""How the step differed from the run's other steps: its own task, and every signal."""

from __future__ import annotations

from geodiag.explain.own import own_task_line
from geodiag.explain.results import Line, Section, Track
from geodiag.explain.subject import Subject
from geodiag.explain.words import count, figure, listed
from geodiag.signals import SIGNALS, Signal

MAIN = ("update_norm", "state_gap", "active_conflict", "mean_grad_cos", "neg_grad_ratio")
"""Signals that are always shown where they are known."""
SHOWN = (*MAIN, "state_norm", "state_conflict", "global_gap", "active_sar", "state_sar", "min_grad_cos")
"""Signals that are looked at; the rest say the same at another scale."""
GRADIENTS = ("mean_grad_cos", "min_grad_cos", "neg_grad_ratio")
"""Signals from probe gradients."""


def step_section(subject: Subject) -> Section:
    """The section on how the step differed."""
    signals = [signal for signal in SIGNALS if signal.name in SHOWN]
    lines = [line for signal in signals if (line := signal_line(subject, signal)) is not None]
    lines.sort(key=lambda line: -line.weight)
    shown = [line for line in lines if line.name in MAIN or line.warn]
    rest = [line for line in lines if line not in shown]
    own = own_task_line(subject)
    return Section(
        "step",
        "How the step differed",
        _lead(lines, own),
        tuple(([own] if own else []) + shown),
        tuple(rest),
        tuple(_notes(subject, [line.name for line in lines])),
    )


def signal_line(subject: Subject, signal: Signal) -> Line | None:
    """One signal; None where it is not defined at this step."""
    value = subject.row[signal.name]
    if value is None:
        return None
    place, track = subject.place(signal.name), subject.evidence.tracks.steps[signal.name]
    told = f"{signal.label} {figure(value)}"
    if signal.name == "global_gap":
        told += f", which is {_gap_truth(subject)}"
    return Line(
        name=signal.name,
        label=signal.label,
        value=value,
        text=told,
        place=place,
        track=track,
        weight=0.0 if place is None else weigh(place.departure, track),
        course=tuple(subject.course(signal.name).values()),
        at=subject.at,
        warn=place is not None and place.stands_out,
    )


def weigh(departure: float, track: Track | None) -> float:
    """What a departure counts for: departure times the trust in its kind of evidence."""
    return departure * (0.25 if track is None else track.trust)


def _gap_truth(subject: Subject) -> str:
    """What the global gap is made of."""
    active, gap = subject.row["n_active"], subject.row["state_gap"]
    return f"the state gap {figure(gap)} times 2/({active} + 1) as λ → 0, so that it carries the step index"


def _lead(lines: list[Line], own: Line | None) -> str:
    unusual = [line.label for line in lines if line.warn]
    failed = "Its own task stayed low. " if own is not None and own.warn else ""
    if not any(line.place is not None and line.place.z is not None for line in lines):
        return f"{failed}There are too few other steps to say what is usual in this run."
    if not unusual:
        return f"{failed}No signal is unusual for this run."
    return f"{failed}Unusual for this run: {listed(unusual)}."


def _notes(subject: Subject, known: list[str]) -> list[str]:
    notes = []
    if subject.step == 1:
        notes.append("At step 1 there is no pair of active updates, so conflicts of pairs and both gaps are undefined.")
    if subject.evidence.configs[subject.run].get("memory") == "anchor":
        notes.append("The active set is the previous state and the new task: active signals compare these two.")
    if not any(name in known for name in GRADIENTS):
        notes.append("Gradients were not measured here, so nothing is said of them.")
    others = len(subject.steps) - 1
    if 0 < others < 4:
        notes.append(f"With {count(others, 'other step')} no robust z is given; it needs 4.")
    return notes
