"""Where the step changed the weights: shares of its squared norm by family, block and layer."""

from __future__ import annotations

from geodiag.explain.differ import weigh
from geodiag.explain.moved import Moved
from geodiag.explain.results import Line, Section
from geodiag.explain.shares import Shares, shares_of
from geodiag.explain.subject import Subject
from geodiag.explain.words import figure, listed, percent, signed
from geodiag.families import FAMILIES

ODDS = {"family": 1.5, "block": 2.0}
"""How many times its usual odds a part's share must have before it stands out; there are more blocks than families."""
TOP = 3
"""Blocks and layers shown."""
LEAST_FOR_THIRDS = 6
"""Blocks from which thirds of the depth say more than the blocks themselves."""


def where_section(subject: Subject) -> Section:
    """The section on where the weights changed."""
    moved = Moved.of(subject)
    families, blocks = shares_of(subject, "family", "step"), shares_of(subject, "block", "step")
    if families is None or blocks is None:
        return Section("where", "Where", _nothing(subject))
    lines = _lines(subject, families, moved) + _lines(subject, blocks, moved)
    if subject.evidence.configs[subject.run].get("updates") != "increments":
        lines += [line for line in _task_lines(subject) if line.warn]
    lines.sort(key=lambda line: -line.weight)
    first = [line for line in lines if line.warn or line.name.startswith("family:")]
    top = sorted((line for line in lines if line.name.startswith("block:")), key=lambda line: -(line.value or 0.0))
    first += [line for line in top[:TOP] if line not in first]
    rest = [line for line in lines if line not in first] + _layers(subject, moved)
    return Section("where", "Where", _lead(lines), tuple(first), tuple(rest), tuple(_notes(blocks, moved)))


def _lines(subject: Subject, shares: Shares, moved: Moved | None) -> list[Line]:
    order = sorted(shares.parts, key=_family_order) if shares.level == "family" else sorted(shares.parts)
    return [_line(subject, shares, part, moved) for part in order] if len(order) > 1 else []


def _task_lines(subject: Subject) -> list[Line]:
    """Shares of the new task's own update, where it is not the step's change."""
    shares = shares_of(subject, "family", "task")
    return [] if shares is None else _lines(subject, shares, None)


def _line(subject: Subject, shares: Shares, part: str | int, moved: Moved | None) -> Line:
    share, place, odds = shares.now(part), shares.place(part), shares.odds_ratio(part)
    by_step = shares.source == "step"
    track = subject.evidence.tracks.families.get(str(part)) if shares.level == "family" and by_step else None
    numbers = {"usual": shares.usual(part), "odds_ratio": odds}
    name = f"{shares.level}:{part}" if by_step else f"task_{shares.level}:{part}"
    label = str(part) if shares.level == "family" else f"block {part}"
    told = f"{label} {percent(share)} of the {'step' if by_step else 'new task'}'s squared update"
    if numbers["usual"] is not None and odds is not None:
        told += f", {percent(numbers['usual'])} at the median of other steps, odds × {figure(odds)}"
    if moved is not None:
        numbers["state_conflict_change"] = moved.parts[shares.level].get(part, 0.0)
        told += f"; {signed(numbers['state_conflict_change'], 4)} of the change of state GC"
    return Line(
        name=name,
        label=label,
        value=share,
        text=told,
        place=place,
        track=track,
        weight=0.0 if place is None else weigh(place.departure, track),
        numbers=numbers,
        course=shares.course(part),
        at=subject.at,
        warn=place is not None and place.unusual and odds is not None and _stands_out(odds, shares.level),
    )


def _stands_out(odds: float, level: str) -> bool:
    return odds >= ODDS[level] or odds <= 1 / ODDS[level]


def _layers(subject: Subject, moved: Moved | None) -> list[Line]:
    shares = shares_of(subject, "layer", "step")
    if shares is None or len(shares.parts) < 2:
        return []
    top = sorted(shares.parts, key=lambda layer: -(shares.now(layer) or 0.0))[:TOP]
    lines = []
    for layer in top:
        change = None if moved is None else moved.parts["layer"].get(layer, 0.0)
        numbers = {"usual": shares.usual(layer), "state_conflict_change": change}
        told = f"{layer} {percent(shares.now(layer))} of the step's squared update"
        told += "" if numbers["usual"] is None else f", {percent(numbers['usual'])} at the median of other steps"
        place = shares.place(layer)
        lines.append(Line(f"layer:{layer}", str(layer), shares.now(layer), told, place, numbers=numbers))
    return lines


def _lead(lines: list[Line]) -> str:
    out = [line for line in lines if line.warn]
    if out:
        said = [f"{line.label} {'more' if (line.numbers['odds_ratio'] or 0) > 1 else 'less'}" for line in out]
        return f"Unlike at the run's other steps: {listed(said)} of the change than usual."
    if not any(line.place is not None and line.place.z is not None for line in lines):
        return "There are too few other steps to say where this run's changes usually are."
    return "Where they are at the run's other steps: no family and no block has an unusual share."


def _nothing(subject: Subject) -> str:
    if subject.row["update_norm"] == 0:
        return "Nowhere: the step changed no weight that was compared."
    return "Not known: the store has no squared norm of this step for every layer."


def _notes(blocks: Shares, moved: Moved | None) -> list[str]:
    notes = []
    if len(blocks.parts) >= LEAST_FOR_THIRDS:
        thirds = blocks.thirds()
        notes.append(
            f"By depth: {percent(thirds[0])} of the squared update in the first third of the blocks, "
            f"{percent(thirds[1])} in the middle, {percent(thirds[2])} in the last."
        )
    if moved is not None:
        notes.append(moved.told())
    return notes


def _family_order(family: str | int) -> tuple[int, str]:
    return (FAMILIES.index(str(family)) if family in FAMILIES else len(FAMILIES)), str(family)
