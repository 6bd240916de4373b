"""Pairwise evidence: the new task against each task that was lost, and similar pairs in the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geodiag.common.text import listed
from geodiag.explain.losses import OldTaskChange
from geodiag.explain.results import Line, Number, Section
from geodiag.explain.subject import Subject
from geodiag.explain.text import correlation_words, number_words, percent_words, signed
from geodiag.signals.pairs import PairDrops
from geodiag.stats.placement import Placement, place_among

MOST = 5
"""Pairs shown."""
PAIR_SIGNALS_SHOWN = ("mean_sar", "mean_conflict", "mean_grad_cos")
"""Pair signals shown."""
RELIABLE = 0.5
"""Reliability under which a gradient's cosine is mostly noise."""


def whom_section(subject: Subject, changes: Sequence[OldTaskChange]) -> Section:
    """Section on the pairs of the new task and each old one."""
    if not subject.pairs:
        return Section("whom", "With whom", "There is no old task to compare the new one with.")
    rows = {row["old_task"]: row for row in subject.pairs}
    first = [change.task for change in changes if change.is_lost][:MOST]
    order = [*first, *(change.task for change in changes if change.task not in first)]
    order += [task for task in rows if task not in order]
    lines = [_line(subject, rows[task]) for task in order]
    shown = len(first) or 1
    return Section(
        "whom",
        "With whom",
        _lead(subject, rows, first),
        tuple(lines[:shown]),
        tuple(lines[shown:]),
        tuple(_notes(subject)),
    )


def pair_place(subject: Subject, row: dict[str, Any], signal: str) -> Placement | None:
    """Placement of a pair's signal among all pairs of a new and an old task; None where it is not defined."""
    value = row[signal]
    if value is None:
        return None
    reference = subject.store.pair_reference(signal)
    run = reference.of_run(subject.run)
    run.remove(value)
    return subject.in_store(place_among(value, run), value, reference)


def _line(subject: Subject, row: dict[str, Any]) -> Line:
    task = row["old_task"]
    label = f"{subject.task_label} and {subject.label(task)}"
    same, similar = subject.store.similar_pairs.same_tasks(row), subject.store.similar_pairs.nearest(row)
    numbers: dict[str, Number] = {name: row[name] for name in (*PAIR_SIGNALS_SHOWN, "grad_reliability", "age", "drop")}
    for name, drops in (("same", same), ("alike", similar)):
        numbers |= {f"{name}_{key}": value for key, value in drops.numbers().items()}
    place = pair_place(subject, row, "mean_conflict")
    return Line(
        name=f"pair:{task}",
        label=label,
        value=row["mean_conflict"],
        text="; ".join(part for part in (_signals(label, row), _other_runs(same, similar)) if part),
        place=place,
        weight=max(0.0, -(row["drop"] or 0.0)),
        numbers=numbers,
        warn=place is not None and place.unusual,
    )


def _signals(label: str, row: dict[str, Any]) -> str:
    words = f"{label}: old task {signed(row['drop'])}"
    if row["mean_conflict"] is None and row["mean_grad_cos"] is None:
        why = "the two were not active together" if not row["in_memory"] else "the two updates were not compared"
        return f"{words}; {why}"
    if row["mean_conflict"] is not None:
        words += f"; GC {number_words(row['mean_conflict'])}, SAR {number_words(row['mean_sar'])}"
    if row["mean_grad_cos"] is None:
        return words
    words += f"; gradient cosine {signed(row['mean_grad_cos'])}"
    reliability = row["grad_reliability"]
    if reliability is None:
        return f"{words}, how far it repeats is not known"
    poor = ", so that it says little" if reliability < RELIABLE else ""
    return f"{words}, gradients repeat {number_words(reliability)} between halves of their probes{poor}"


def _other_runs(same: PairDrops, similar: PairDrops) -> str:
    parts = []
    if same.n == 1:
        parts.append(f"in the one other run with both, {signed(same.median)}")
    elif same.n:
        span = f"{signed(same.low)} to {signed(same.high)}"
        parts.append(f"in {same.n} other runs with both, median {signed(same.median)} ({span})")
    if similar.n:
        every = f"all their pairs: {signed(similar.all_median)}"
        parts.append(
            f"in the {similar.n} pairs of other runs closest in GC and SAR, median {signed(similar.median)} ({every}), "
            f"{percent_words(similar.lost)} fell"
        )
    return "; ".join(parts)


def _lead(subject: Subject, rows: dict[str, Any], lost: list[str]) -> str:
    compared = [task for task, row in rows.items() if row["mean_conflict"] is not None]
    if not compared:
        return "The new task's update was not compared with any old task's: none was active with it."
    apart = max(compared, key=lambda task: rows[task]["mean_conflict"])
    near = min(compared, key=lambda task: rows[task]["mean_conflict"])
    if apart == near:
        return f"Its update against {subject.label(near)}'s: GC {number_words(rows[near]['mean_conflict'])}."
    words = f"Its update is most unlike {subject.label(apart)}'s (GC {number_words(rows[apart]['mean_conflict'])}) "
    words += "and least "
    words += f"unlike {subject.label(near)}'s (GC {number_words(rows[near]['mean_conflict'])})"
    return f"{words}; lost were {listed([subject.label(task) for task in lost])}." if lost else f"{words}."


def _notes(subject: Subject) -> list[str]:
    notes = []
    for name in PAIR_SIGNALS_SHOWN:
        correlation = subject.store.correlations.pairs.get(name)
        if correlation is not None and correlation.has_interval and any(row[name] is not None for row in subject.pairs):
            words = correlation_words(correlation)
            notes.append(f"{words[:1].upper()}{words[1:]}.")
    return notes
