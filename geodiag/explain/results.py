"""Parts of an explanation: lines of evidence, sections, findings, verdict and advice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from geodiag.stats.placement import Placement

Confidence = Literal["high", "moderate", "low", "none"]
StepOutcome = Literal["lost", "within noise", "not scored", "first step"]
Number = float | int | None


@dataclass(frozen=True)
class LossCorrelation:
    """Rank correlation of one kind of evidence with the loss, over all steps of the store."""

    signal: str
    """The kind of evidence, as sentences name it."""
    target: str
    """The outcome: `forgetting` or `drop`, negative where something was lost."""
    rho: float | None
    """Spearman's correlation at a fixed step: of ranks less the mean of their step."""
    low: float | None
    """Lower end of its leave-one-run-out interval."""
    high: float | None
    """Upper end."""
    pooled: float | None
    """Spearman's correlation over all rows, the step index not held fixed."""
    n: int
    """Rows with both."""
    runs: int
    """Runs with both."""
    least: int
    """Runs that an interval needs."""

    @property
    def has_interval(self) -> bool:
        """Whether the interval is defined."""
        return self.low is not None and self.high is not None

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def trust(self) -> float:
        """Factor of a departure's weight, 0.1..1: |rho| where clear, 0.25 without an interval, else 0.1."""
        if not self.has_interval:
            return 0.25
        return max(abs(self.rho or 0.0), 0.1) if self.clear else 0.1

    def harmful(self, departure: float) -> bool:
        """Whether departures of this sign clearly go with more loss in this store."""
        return self.clear and self.rho is not None and self.rho * departure < 0


@dataclass(frozen=True)
class Line:
    """One piece of evidence."""

    name: str
    """Its key: `update_norm`, `task:biology`, `family:up_proj`, `pair:biology`, ..."""
    label: str
    """Its name in text."""
    value: float | None
    """Its number."""
    text: str
    """The number in a sentence, without a full stop."""
    place: Placement | None = None
    """The number among those of the run and of the store."""
    track: LossCorrelation | None = None
    """Correlation of this kind of evidence with the loss, over the store."""
    weight: float = 0.0
    """Departure times the trust in its kind; lines of a section are in descending order of it."""
    numbers: Mapping[str, Number] = field(default_factory=dict)
    """The other numbers in its text, by name."""
    course: tuple[float | None, ...] = ()
    """The number at every step of the run; empty where it has none."""
    at: int | None = None
    """Index of this step in `course`, from 0."""
    warn: bool = False
    """Whether it stands out."""


@dataclass(frozen=True)
class Section:
    """One question with its evidence."""

    name: str
    """`lost`, `step`, `where`, `whom` or `health`."""
    title: str
    """The question."""
    lead: str
    """The answer in short."""
    lines: tuple[Line, ...] = ()
    """Evidence, in descending order of weight."""
    more: tuple[Line, ...] = ()
    """Unremarkable evidence; a terminal lists its labels only."""
    notes: tuple[str, ...] = ()
    """Remarks on the evidence, one sentence each."""


@dataclass(frozen=True)
class CauseFinding:
    """One possible cause whose test the step meets."""

    cause: str
    """A name of `geodiag.explain.CAUSES`."""
    subjects: tuple[str, ...]
    """The families, blocks, tasks or signals concerned."""
    labels: tuple[str, ...]
    """Their names in text."""
    text: str
    """The finding as a clause that follows "the step"."""
    lines: tuple[str, ...]
    """Names of the lines it rests on."""
    track: LossCorrelation | None = None
    """Correlation of this kind of evidence with the loss, over the store."""
    sign: float = 1.0
    """The sign of the departure, for comparison with that of the correlation."""


@dataclass(frozen=True)
class Verdict:
    """StepOutcome of a step, its most specific finding, and the confidence in it as the cause."""

    outcome: StepOutcome
    """StepOutcome of the old tasks at this step, from the scores."""
    cause: str
    """The most specific finding; without one, `unexplained` if something was lost, else `ordinary`."""
    subjects: tuple[str, ...]
    """The families, blocks, tasks or signals that the finding concerns."""
    confidence: Confidence
    """Confidence in the finding as the cause of the loss."""
    text: str
    """Two sentences: the outcome and the finding; the confidence and its reasons."""
    findings: tuple[CauseFinding, ...] = ()
    """All findings, the most specific first; `run` is about the run and never the cause of a step."""


@dataclass(frozen=True)
class Advice:
    """A recommended action."""

    action: str
    """The action, in the imperative."""
    why: str
    """The evidence it follows from, as a clause after "because"."""
    lines: tuple[str, ...] = ()
    """Names of the lines that it follows from."""


@dataclass(frozen=True)
class ExplanationParts:
    """All parts of the explanation of one step."""

    run: str
    """The run."""
    size: str
    """Its model size."""
    method: str
    """Its training method."""
    step: int
    """The step, from 1."""
    n_steps: int
    """Steps of the run."""
    task: str | None
    """The task trained at the step, as the store names it."""
    label: str
    """The task's label in the manifest."""
    verdict: Verdict
    """StepOutcome, finding and confidence."""
    sections: tuple[Section, ...]
    """The evidence."""
    advice: tuple[Advice, ...]
    """Recommended actions."""
    runs: int
    """Runs in the store."""

    def section(self, name: str) -> Section:
        """A section by name."""
        return next(section for section in self.sections if section.name == name)

    def line(self, name: str) -> Line | None:
        """A line of any section by name; None where there is none."""
        return next((line for line in lines_of(self.sections) if line.name == name), None)


def lines_of(sections: Iterable[Section]) -> Iterator[Line]:
    """All lines of these sections, remarkable or not, in order."""
    for section in sections:
        yield from (*section.lines, *section.more)
