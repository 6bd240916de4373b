"""Location of a step in the weights: shares of its squared norm by family, block and layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import exp, log
from statistics import median
from typing import Any

from geodiag.common.families import FAMILIES
from geodiag.explain.contrast import weigh
from geodiag.explain.results import Line, Section
from geodiag.explain.subject import Subject
from geodiag.explain.words import listed, number_words, percent_words, signed
from geodiag.stats.placement import LEAST_OTHERS, Placement, place_step


@dataclass(frozen=True)
class Moved:
    """The change of the state conflict at a step."""

    now: list[dict[str, Any]]
    """Sums and counts of conflicts by layer and object, at the step."""
    before: list[dict[str, Any]]
    """The same one step earlier."""

    @classmethod
    def of(cls, subject: Subject) -> Moved | None:
        """The change; None where there is no conflict at both steps."""
        rows = subject.evidence.state_conflicts_of.get(subject.run, [])
        now, before = ([row for row in rows if row["step"] == t] for t in (subject.step, subject.step - 1))
        known = [sum(row["n"] for row in part) > 0 for part in (now, before)]
        return cls(now, before) if all(known) else None

    @property
    def change(self) -> float:
        """State conflict now minus before."""
        return _mean(self.now) - _mean(self.before)

    @cached_property
    def parts(self) -> dict[str, dict[str | int, float]]:
        """The change shared out by `family`, by `block` and by `layer`."""
        found: dict[str, dict[str | int, float]] = {"family": {}, "block": {}, "layer": {}}
        for rows, sign in ((self.now, 1), (self.before, -1)):
            total = sum(row["n"] for row in rows)
            for row in rows:
                for level, parts in found.items():
                    parts[row[level]] = parts.get(row[level], 0.0) + sign * row["total"] / total
        return found

    @property
    def moved(self) -> float | None:
        """The part of the change over tasks active at both steps: the state moved, they did not."""
        both = {row["object_j"] for row in self.now} & {row["object_j"] for row in self.before} - {"state"}
        now, before = (_only(rows, lambda row: row["object_j"] in both) for rows in (self.now, self.before))
        if not sum(row["n"] for row in now) or not sum(row["n"] for row in before):
            return None
        return _mean(now) - _mean(before)

    def told(self) -> str:
        """The change in words."""
        told = f"State GC changed by {signed(self.change, 4)} since the previous step"
        if self.moved is None:
            return f"{told}."
        rest = self.change - self.moved
        return (
            f"{told}: {signed(self.moved, 4)} because the state moved against the updates of tasks active before, "
            f"{signed(rest, 4)} because the set of active tasks changed."
        )


def _mean(rows: list[dict[str, Any]]) -> float:
    return float(sum(row["total"] for row in rows) / sum(row["n"] for row in rows))


def _only(rows: list[dict[str, Any]], keep: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    return [row for row in rows if keep(row)]


SMALLEST = 1e-6
"""Shares are kept this far from 0 and 1, where odds end."""

NormShare = str | int
"""A family, a block or a layer."""


@dataclass(frozen=True)
class Shares:
    """How a step's squared norm is shared out, and how those of the run's other steps are."""

    subject: Subject
    """The step."""
    level: str
    """`family`, `block` or `layer`."""
    source: str
    """`step`: the change of the weights; `task`: the new task's update."""
    parts: Mapping[NormShare, Mapping[int, float]]
    """Shares by part, then step."""

    def now(self, part: NormShare) -> float | None:
        """The share at the step."""
        return self.parts[part].get(self.subject.step)

    def course(self, part: NormShare) -> tuple[float | None, ...]:
        """The share at every step of the run."""
        return tuple(self.parts[part].get(step) for step in self.subject.steps)

    def usual(self, part: NormShare) -> float | None:
        """The median share at the run's other steps, where there are 4."""
        others = self._others(part)
        return median(others) if len(others) >= LEAST_OTHERS else None

    def odds_ratio(self, part: NormShare) -> float | None:
        """Odds of the share over the median odds at the run's other steps."""
        now, others = self.now(part), self._others(part)
        if now is None or len(others) < LEAST_OTHERS:
            return None
        return exp(log_odds(now) - median(log_odds(other) for other in others))

    def place(self, part: NormShare) -> Placement | None:
        """Where the share stands, in its run by its log odds, in the store among runs of the same size."""
        course = {step: log_odds(share) for step, share in self.parts[part].items()}
        size = str(self.subject.row["size"])
        reference = self.subject.evidence.share_reference(self.level, self.source, size).get(part)
        return self.subject.in_store(place_step(course, self.subject.step), self.now(part), reference, within=size)

    def thirds(self) -> tuple[float, float, float]:
        """The share of the first, middle and last third of the parts in order."""
        order = sorted(self.parts)
        sums = [0.0, 0.0, 0.0]
        for at, part in enumerate(order):
            sums[3 * at // len(order)] += self.now(part) or 0.0
        return sums[0], sums[1], sums[2]

    def _others(self, part: NormShare) -> list[float]:
        return [share for step, share in self.parts[part].items() if step != self.subject.step]


def shares_of(subject: Subject, level: str, source: str) -> Shares | None:
    """The shares of a step; None where it has none."""
    parts = subject.evidence.shares_of(level, source).get(subject.run, {})
    if not any(subject.step in steps for steps in parts.values()):
        return None
    return Shares(subject, level, source, parts)


def log_odds(share: float) -> float:
    """log(p / (1 - p)) of a share kept away from 0 and 1."""
    kept = min(max(share, SMALLEST), 1 - SMALLEST)
    return log(kept / (1 - kept))


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
    told = f"{label} {percent_words(share)} of the {'step' if by_step else 'new task'}'s squared update"
    if numbers["usual"] is not None and odds is not None:
        told += f", {percent_words(numbers['usual'])} at the median of other steps, odds × {number_words(odds)}"
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
        told = f"{layer} {percent_words(shares.now(layer))} of the step's squared update"
        told += "" if numbers["usual"] is None else f", {percent_words(numbers['usual'])} at the median of other steps"
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
            f"By depth: {percent_words(thirds[0])} of the squared update in the first third of the blocks, "
            f"{percent_words(thirds[1])} in the middle, {percent_words(thirds[2])} in the last."
        )
    if moved is not None:
        notes.append(moved.told())
    return notes


def _family_order(family: str | int) -> tuple[int, str]:
    return (FAMILIES.index(str(family)) if family in FAMILIES else len(FAMILIES)), str(family)
