"""What became of the runs of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from geodiag.errors import GeodiagError

Status = Literal["done", "unchanged", "partial", "checked", "failed"]
"""`partial`: this shard's layers are finished, the run is not, because other shards' are missing. `checked`: nothing
was to be stored."""


@dataclass(frozen=True)
class Did:
    """What was done to one run."""

    status: Status
    detail: str
    """As a clause: `extracted 21 layers`, `unchanged`."""


@dataclass(frozen=True)
class RunOutcome:
    """What became of one run of a batch."""

    run: str
    """The run's id, or its manifest's path where that could not be read."""
    status: Status
    detail: str
    """What was done, or the error's one line."""
    error: GeodiagError | None = None


@dataclass(frozen=True)
class BatchReport:
    """What became of every run of a batch, in order."""

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


def together(done: list[Did]) -> Did:
    """Several things done to one run as one: unchanged only if all were, partial if any was."""
    statuses = [one.status for one in done]
    status: Status = "partial" if "partial" in statuses else "done" if "done" in statuses else "unchanged"
    return Did(status, ", ".join(one.detail for one in done))
