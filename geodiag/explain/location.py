"""Location of a step in the weights: shares of its squared norm by family, block and layer."""

from __future__ import annotations

from dataclasses import replace

from geodiag.common.schema import FAMILIES
from geodiag.common.text import listed
from geodiag.explain.contrast import weigh
from geodiag.explain.results import Line, LossCorrelation, Number, Section
from geodiag.explain.subject import Subject
from geodiag.explain.text import number_words, percent_words, signed
from geodiag.signals.shares import Part, StateConflictChange, StepShares
from geodiag.stats.placement import LEAST_OTHERS, Placement, place_step

ODDS = {"family": 1.5, "block": 2.0}
"""Odds ratio from which a part's share stands out; larger for blocks, since there are more of them."""
TOP = 3
"""Blocks and layers shown."""
LEAST_FOR_THIRDS = 6
"""Blocks from which thirds of the depth are summed up."""


def where_section(subject: Subject) -> Section:
    """Section on the families, blocks and layers that changed."""
    conflict = StateConflictChange.of(subject.store.state_conflicts_of.get(subject.run, []), subject.step)
    families, blocks = step_shares(subject, "family", "step"), step_shares(subject, "block", "step")
    if families is None or blocks is None:
        return Section("where", "Where", _nothing(subject))
    lines = _lines(subject, "family", families, conflict) + _lines(subject, "block", blocks, conflict)
    if subject.store.configs[subject.run].get("updates") != "increments":
        lines += [line for line in _task_lines(subject) if line.warn]
    lines.sort(key=lambda line: -line.weight)
    first = [line for line in lines if line.warn or line.name.startswith("family:")]
    top = sorted((line for line in lines if line.name.startswith("block:")), key=lambda line: -(line.value or 0.0))
    first += [line for line in top[:TOP] if line not in first]
    rest = [line for line in lines if line not in first] + _layer_lines(subject, conflict)
    return Section("where", "Where", _lead(lines), tuple(first), tuple(rest), tuple(_notes(blocks, conflict)))


def step_shares(subject: Subject, level: str, source: str) -> StepShares | None:
    """Shares of the step's squared norm; None where they are not defined at the step.

    Args:
        subject: the step.
        level: `family`, `block` or `layer`.
        source: `step` (the change of the weights) or `task` (the new task's update).
    """
    parts = subject.store.shares_of(level, source).get(subject.run, {})
    if not any(subject.step in steps for steps in parts.values()):
        return None
    return StepShares(parts, subject.step, LEAST_OTHERS)


def _place(subject: Subject, level: str, source: str, shares: StepShares, part: Part) -> Placement | None:
    """Placement of a share: in its run by its log odds, in the store among runs of the same size."""
    size = str(subject.row["size"])
    reference = subject.store.share_reference(level, source, size).get(part)
    place = place_step(shares.log_odds(part), subject.step)
    return subject.in_store(place, shares.share(part), reference, within=size)


def _lines(subject: Subject, level: str, shares: StepShares, conflict: StateConflictChange | None) -> list[Line]:
    order = sorted(shares.parts, key=_family_order) if level == "family" else sorted(shares.parts)
    return [_line(subject, level, shares, part, conflict) for part in order] if len(order) > 1 else []


def _line(subject: Subject, level: str, shares: StepShares, part: Part, conflict: StateConflictChange | None) -> Line:
    """Line on the share of a family or block in the step's change."""
    track = subject.store.correlations.families.get(str(part)) if level == "family" else None
    line = _share_line(subject, (level, "step"), shares, part, track)
    if conflict is None:
        return line
    change = conflict.parts[level].get(part, 0.0)
    text = f"{line.text}; {signed(change, 4)} of the change of state GC"
    return replace(line, text=text, numbers={**line.numbers, "state_conflict_change": change})


def _task_lines(subject: Subject) -> list[Line]:
    """Lines on the families' shares in the new task's own update, where it is not the step's change."""
    shares = step_shares(subject, "family", "task")
    if shares is None or len(shares.parts) < 2:
        return []
    order = sorted(shares.parts, key=_family_order)
    return [_share_line(subject, ("family", "task"), shares, part, None) for part in order]


def _share_line(
    subject: Subject, kind: tuple[str, str], shares: StepShares, part: Part, track: LossCorrelation | None
) -> Line:
    """Line on one share; `kind` is its level and source."""
    level, source = kind
    share, usual, odds = shares.share(part), shares.usual(part), shares.odds_ratio(part)
    place = _place(subject, level, source, shares, part)
    label = str(part) if level == "family" else f"block {part}"
    text = f"{label} {percent_words(share)} of the {'step' if source == 'step' else 'new task'}'s squared update"
    if usual is not None and odds is not None:
        text += f", {percent_words(usual)} at the median of other steps, odds × {number_words(odds)}"
    return Line(
        name=f"{level}:{part}" if source == "step" else f"task_{level}:{part}",
        label=label,
        value=share,
        text=text,
        place=place,
        track=track,
        weight=0.0 if place is None else weigh(place.departure, track),
        numbers={"usual": usual, "odds_ratio": odds},
        course=shares.series(part, subject.steps),
        at=subject.at,
        warn=place is not None and place.unusual and odds is not None and _stands_out(odds, level),
    )


def _stands_out(odds: float, level: str) -> bool:
    return odds >= ODDS[level] or odds <= 1 / ODDS[level]


def _layer_lines(subject: Subject, conflict: StateConflictChange | None) -> list[Line]:
    """Lines on the layers with the largest shares."""
    shares = step_shares(subject, "layer", "step")
    if shares is None or len(shares.parts) < 2:
        return []
    top = sorted(shares.parts, key=lambda layer: -(shares.share(layer) or 0.0))[:TOP]
    lines = []
    for layer in top:
        share, usual = shares.share(layer), shares.usual(layer)
        change = None if conflict is None else conflict.parts["layer"].get(layer, 0.0)
        numbers: dict[str, Number] = {"usual": usual, "state_conflict_change": change}
        text = f"{layer} {percent_words(share)} of the step's squared update"
        text += "" if usual is None else f", {percent_words(usual)} at the median of other steps"
        place = _place(subject, "layer", "step", shares, layer)
        lines.append(Line(f"layer:{layer}", str(layer), share, text, place, numbers=numbers))
    return lines


def _lead(lines: list[Line]) -> str:
    out = [line for line in lines if line.warn]
    if out:
        parts = [f"{line.label} {'more' if (line.numbers['odds_ratio'] or 0) > 1 else 'less'}" for line in out]
        return f"Unlike at the run's other steps: {listed(parts)} of the change than usual."
    if not any(line.place is not None and line.place.z is not None for line in lines):
        return "There are too few other steps to say where this run's changes usually are."
    return "Where they are at the run's other steps: no family and no block has an unusual share."


def _nothing(subject: Subject) -> str:
    if subject.row["update_norm"] == 0:
        return "Nowhere: the step changed no weight that was compared."
    return "Not known: the store has no squared norm of this step for every layer."


def _notes(blocks: StepShares, conflict: StateConflictChange | None) -> list[str]:
    notes = []
    if len(blocks.parts) >= LEAST_FOR_THIRDS:
        thirds = blocks.thirds()
        notes.append(
            f"By depth: {percent_words(thirds[0])} of the squared update in the first third of the blocks, "
            f"{percent_words(thirds[1])} in the middle, {percent_words(thirds[2])} in the last."
        )
    if conflict is not None:
        notes.append(_conflict_note(conflict))
    return notes


def _conflict_note(conflict: StateConflictChange) -> str:
    """The change of the state conflict, and how much of it the state and the set of active tasks account for."""
    text = f"State GC changed by {signed(conflict.change, 4)} since the previous step"
    same = conflict.at_same_tasks
    if same is None:
        return f"{text}."
    return (
        f"{text}: {signed(same, 4)} because the state moved against the updates of tasks active before, "
        f"{signed(conflict.change - same, 4)} because the set of active tasks changed."
    )


def _family_order(family: Part) -> tuple[int, str]:
    return (FAMILIES.index(str(family)) if family in FAMILIES else len(FAMILIES)), str(family)
