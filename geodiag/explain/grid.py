"""Shares of families and blocks as a table, for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterable

from geodiag.explain.results import Line
from geodiag.explain.words import figure, percent, rank_words, record, signed

HEADINGS = (
    "part",
    "share",
    "usual",
    "odds",
    "robust z",
    "unusual from",
    "in the run",
    "in the store",
    "of ΔGC",
    "record",
)
"""What the columns are called."""
LEGEND = (
    "Share of the step's squared update; usual: median of the run's other steps; odds: of the share, as a multiple of "
    "the usual; in the store: percentile among runs of this size; of ΔGC: part of the change of state GC since the "
    "previous step; record: how the share went with forgetting in this store at a fixed step."
)
"""What they say."""


def is_share(line: Line) -> bool:
    """Whether a line stands in the table."""
    return line.name.split(":")[0] in ("family", "block", "task_family")


def share_rows(lines: Iterable[Line]) -> list[tuple[str, ...]]:
    """One row a line, cells as text."""
    return [_row(line) for line in lines]


def _row(line: Line) -> tuple[str, ...]:
    place, numbers = line.place, line.numbers
    source = " (new task's update)" if line.name.startswith("task_") else ""
    return (
        f"{line.label}{source}",
        percent(line.value),
        percent(numbers["usual"]),
        f"× {figure(numbers['odds_ratio'])}" if numbers["odds_ratio"] is not None else "–",
        "–" if place is None or place.z is None else signed(place.z, 1),
        "–" if place is None or place.z is None or place.critical is None else f"{place.critical:.1f}",
        "" if place is None else rank_words(place).replace("the run's ", ""),
        "–" if place is None or place.percentile is None else f"{place.percentile:.0f}",
        signed(numbers.get("state_conflict_change"), 4),
        record(line.track) or "–",
    )
