"""The parts of an explanation: lines, sections, placements, verdict, advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from geodiag.stats.placement import Placement

Confidence = Literal["high", "moderate", "low", "none"]
Outcome = Literal["lost", "within noise", "not scored", "first step"]
Number = float | int | None


@dataclass(frozen=True)
class Track:
    """How a kind of evidence has gone with what was lost, over the whole store."""

    signal: str
    """The kind of evidence, as it is called where people read."""
    target: str
    """The outcome it was held against: forgetting or drop, negative where something was lost."""
    rho: float | None
    """Spearman's correlation at a fixed step, ranks less the mean of their step."""
    low: float | None
    """Lower end of its interval, which leaves out one run after the other."""
    high: float | None
    """Upper end."""
    pooled: float | None
    """Spearman's correlation over all rows, the step index not held fixed."""
    n: int
    """Rows behind it."""
    runs: int
    """Runs behind it."""
    least: int
    """Runs that an interval needs."""

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return self.low is not None and self.high is not None

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def trust(self) -> float:
        """What it makes of a departure: |rho| where clear, 0.25 where nothing can be known, else 0.1."""
        if not self.known:
            return 0.25
        return max(abs(self.rho or 0.0), 0.1) if self.clear else 0.1

    def harmful(self, departure: float) -> bool:
        """Whether departures of this sign go with more loss here, clearly."""
        return self.clear and self.rho is not None and self.rho * departure < 0


@dataclass(frozen=True)
class Line:
    """One piece of evidence."""

    name: str
    """What it is about: `update_norm`, `task:biology`, `family:up_proj`, `pair:biology`, ..."""
    label: str
    """The same where people read."""
    value: float | None
    """Its number."""
    text: str
    """What it says, in words."""
    place: Placement | None = None
    """Where its number stands in the run and in the store."""
    track: Track | None = None
    """How this kind of evidence has gone with forgetting in the store."""
    weight: float = 0.0
    """How much it counts: its departure times the trust in its kind. Lines of a section are ordered by it."""
    numbers: Mapping[str, Number] = field(default_factory=dict)
    """The other numbers in its text, by name."""
    course: tuple[float | None, ...] = ()
    """The number at every step of the run; empty where it has none."""
    at: int | None = None
    """The place of this step in its course, from 0."""
    warn: bool = False
    """Whether it stands out."""


@dataclass(frozen=True)
class Section:
    """One question and the evidence on it."""

    name: str
    """`lost`, `step`, `where`, `whom` or `health`."""
    title: str
    """The question."""
    lead: str
    """The answer in short."""
    lines: tuple[Line, ...] = ()
    """Evidence, the weightiest first."""
    more: tuple[Line, ...] = ()
    """Evidence that says little; not printed in a terminal."""
    notes: tuple[str, ...] = ()
    """What to keep in mind."""


@dataclass(frozen=True)
class CauseFinding:
    """One way in which a step stands out."""

    cause: str
    """A name of `geodiag.explain.CAUSES`."""
    subjects: tuple[str, ...]
    """The families, blocks, tasks or signals concerned."""
    labels: tuple[str, ...]
    """The same where people read."""
    text: str
    """What was seen, as a clause that follows "the step"."""
    lines: tuple[str, ...]
    """Names of the lines it rests on."""
    track: Track | None = None
    """How this kind of evidence has gone with forgetting in the store."""
    sign: float = 1.0
    """The sign of the departure, for holding it against the track."""


@dataclass(frozen=True)
class Verdict:
    """The short answer."""

    outcome: Outcome
    """What the scores say of the old tasks at this step."""
    cause: str
    """The finding that sets the step apart most; `unexplained` where none does, `ordinary` where nothing was lost."""
    subjects: tuple[str, ...]
    """What it names: families, tasks, signals."""
    confidence: Confidence
    """How far the finding may be taken for the reason of the loss."""
    text: str
    """Two sentences: what happened and what stands out; how sure that is."""
    findings: tuple[CauseFinding, ...] = ()
    """Everything that stands out, the most specific first; `run` is about the run and never the cause of a step."""


@dataclass(frozen=True)
class Advice:
    """Something to try."""

    action: str
    """What to do."""
    why: str
    """The evidence it follows from."""
    lines: tuple[str, ...] = ()
    """Names of the lines that it follows from."""


@dataclass(frozen=True, repr=False)
class Explanation:
    """Why a step forgot, as far as its numbers can tell."""

    run: str
    """The run."""
    size: str
    """Its model size."""
    method: str
    """Its training method."""
    step: int
    """The step."""
    n_steps: int
    """Steps of the run."""
    task: str | None
    """The task trained at the step, as the store names it."""
    label: str
    """The same as it was written."""
    verdict: Verdict
    """The short answer."""
    sections: tuple[Section, ...]
    """The evidence."""
    advice: tuple[Advice, ...]
    """What to try."""
    runs: int
    """Runs in the store."""

    def section(self, name: str) -> Section:
        """A section by name."""
        return next(section for section in self.sections if section.name == name)

    def line(self, name: str) -> Line | None:
        """A line by name, in whichever section it stands; None where there is none."""
        found = (line for section in self.sections for line in (*section.lines, *section.more))
        return next((line for line in found if line.name == name), None)

    def to_text(self, *, width: int = 96) -> str:
        """The explanation for a terminal.

        Args:
            width: characters of a line.
        """
        from geodiag.explain.text import explanation_text

        return explanation_text(self, width=width)

    def to_json(self, *, indent: int | None = 2) -> str:
        """Every number and sentence as JSON; undefined numbers are null.

        Args:
            indent: spaces of an indentation; None puts all in one line.
        """
        from geodiag.explain.text import explanation_json

        return explanation_json(self, indent=indent)

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        from geodiag.explain.html import explanation_html

        return explanation_html(self)
