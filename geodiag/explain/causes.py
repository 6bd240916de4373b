"""The ways in which a step can stand out, as data: each looks at the evidence and finds something or nothing.

They are asked in order. The first that finds something is what the verdict is about, the others are named beside it.
Thresholds ask for an effect as well as for a departure that chance would not make: 1 in 100 ordinary steps exceeds a
critical z, so with a dozen signals some step always does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from geodiag.explain import find
from geodiag.explain.lost import Loss
from geodiag.explain.results import Finding, Line, Section
from geodiag.explain.subject import Subject


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
    find: Callable[[Case], Finding | None]
    """Looks for it."""


CAUSES: tuple[Cause, ...] = (
    Cause("no change", "the step changed no weight that was compared", find.no_change),
    Cause("family", "a family took far more of the step's change than usual", find.scaled_family),
    Cause("block", "a block took far more of the step's change than usual", find.scaled_block),
    Cause("not learnt", "the step's own task stayed low", find.not_learnt),
    Cause("repeat", "the new task's update is much like an old one's", find.repeat),
    Cause("small update", "the step moved the weights far less than usual", find.small_update),
    Cause("family", "a family took more of the step's change than usual", find.shifted_family),
    Cause("large update", "the step moved the weights far more than usual", find.large_update),
    Cause("signal", "a signal that goes with forgetting in this store is unusual", find.tracked_signal),
    Cause("pair", "the pair of new and lost task is unusual in a way that goes with loss", find.tracked_pair),
    Cause("run", "a signal that goes with forgetting in this store is far out among runs at this step", find.high_run),
)
"""Every way, the most specific first."""


def findings(case: Case) -> tuple[Finding, ...]:
    """Everything that stands out, in order, each cause once."""
    found: dict[str, Finding] = {}
    for cause in CAUSES:
        finding = None if cause.name in found else cause.find(case)
        if finding is not None:
            found[cause.name] = finding
    return tuple(found.values())
