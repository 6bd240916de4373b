"""Progress of a batch while it works, and the outcome of each run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from geodiag.errors import GeodiagError

Status = Literal["done", "unchanged", "partial", "checked", "failed"]
"""`partial`: this shard's layers are finished, the run is not, because other shards' are missing. `checked`: nothing
was to be stored."""


@dataclass(frozen=True)
class Outcome:
    """What was done to one run."""

    status: Status
    detail: str
    """As a clause: `extracted 21 layers`, `unchanged`."""


@dataclass(frozen=True)
class RunOutcome:
    """The result of one run of a batch."""

    run: str
    """The run's id, or its manifest's path where that could not be read."""
    status: Status
    detail: str
    """What was done, or what is wrong: one line an error."""
    errors: tuple[GeodiagError, ...] = ()
    """Everything that is wrong with a failed run, in the order of the checks; an extraction stops at the first."""

    @property
    def error(self) -> GeodiagError | None:
        """The first error; None for a run that did not fail."""
        return self.errors[0] if self.errors else None


def failed_run(run: str, *errors: GeodiagError) -> RunOutcome:
    """The outcome of a run that failed.

    Args:
        run: its id, or its manifest's path where that could not be read.
        errors: what is wrong with it, at least one.
    """
    return RunOutcome(run, "failed", "\n".join(map(str, errors)), errors)


@dataclass(frozen=True)
class BatchReport:
    """The outcome of every run of a batch, in order."""

    outcomes: tuple[RunOutcome, ...]

    @property
    def failed(self) -> tuple[RunOutcome, ...]:
        """The runs that are not in the store."""
        return tuple(o for o in self.outcomes if o.status == "failed")

    @property
    def exit_code(self) -> int:
        """0: all are stored. 1: some failed, the others are stored. 2: every one failed, so the input is wrong."""
        if not self.failed:
            return 0
        return 2 if len(self.failed) == len(self.outcomes) else 1


def combined_outcome(done: list[Outcome]) -> Outcome:
    """Several things done to one run as one: unchanged only if all were, partial if any was."""
    statuses = [one.status for one in done]
    status: Status = "partial" if "partial" in statuses else "done" if "done" in statuses else "unchanged"
    return Outcome(status, ", ".join(one.detail for one in done))


class Progress(Protocol):
    """The events of a batch, in the order they happen."""

    def run_started(self, run: str, *, parts: int, done: int, what: str) -> None:
        """A run begins: how many parts (layers, steps) it has, and how many of them an earlier attempt finished."""

    def part_done(self, run: str, part: str) -> None:
        """One part's rows are on disk."""

    def run_ended(self, run: str) -> None:
        """The run is stored, or has failed."""

    def note(self, text: str) -> None:
        """Something a person should know: one line."""


class Silent:
    """A `Progress` that discards every event."""

    def run_started(self, run: str, *, parts: int, done: int, what: str) -> None:
        """Ignored."""

    def part_done(self, run: str, part: str) -> None:
        """Ignored."""

    def run_ended(self, run: str) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""
