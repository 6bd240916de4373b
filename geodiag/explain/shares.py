"""Shares of squared norms and what is usual for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from statistics import median

from geodiag.explain.place import LEAST_OTHERS, locate
from geodiag.explain.results import Place
from geodiag.explain.subject import Subject

SMALLEST = 1e-6
"""Shares are kept this far from 0 and 1, where odds end."""

Part = str | int
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
    parts: Mapping[Part, Mapping[int, float]]
    """Shares by part, then step."""

    def now(self, part: Part) -> float | None:
        """The share at the step."""
        return self.parts[part].get(self.subject.step)

    def course(self, part: Part) -> tuple[float | None, ...]:
        """The share at every step of the run."""
        return tuple(self.parts[part].get(step) for step in self.subject.steps)

    def usual(self, part: Part) -> float | None:
        """The median share at the run's other steps, where there are 4."""
        others = self._others(part)
        return median(others) if len(others) >= LEAST_OTHERS else None

    def odds_ratio(self, part: Part) -> float | None:
        """Odds of the share over the median odds at the run's other steps."""
        now, others = self.now(part), self._others(part)
        if now is None or len(others) < LEAST_OTHERS:
            return None
        return exp(log_odds(now) - median(log_odds(other) for other in others))

    def place(self, part: Part) -> Place | None:
        """Where the share stands, in its run by its log odds, in the store among runs of the same size."""
        course = {step: log_odds(share) for step, share in self.parts[part].items()}
        size = str(self.subject.row["size"])
        reference = self.subject.evidence.share_reference(self.level, self.source, size).get(part)
        return self.subject.in_store(locate(course, self.subject.step), self.now(part), reference, within=size)

    def thirds(self) -> tuple[float, float, float]:
        """The share of the first, middle and last third of the parts in order."""
        order = sorted(self.parts)
        sums = [0.0, 0.0, 0.0]
        for at, part in enumerate(order):
            sums[3 * at // len(order)] += self.now(part) or 0.0
        return sums[0], sums[1], sums[2]

    def _others(self, part: Part) -> list[float]:
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
