"""What the change of the state conflict since the previous step is made of.

The state conflict is the mean over layers and active objects of the conflict with the state. With N values at a step,
the part that a family, block or layer has in its change is sum(its values now) / N now - sum(its values before) / N
before, which adds up to the change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from geodiag.explain.subject import Subject
from geodiag.explain.words import signed


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
