"""An explanation as text for a terminal, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from math import isfinite
from textwrap import wrap
from typing import Any

from geodiag.explain.results import Explanation, Line, Section
from geodiag.explain.words import (
    number_words,
    percent_words,
    place_words,
    rank_words,
    record,
    signed,
    track_words,
    trust_words,
)

SHARE_HEADINGS = (
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
        percent_words(line.value),
        percent_words(numbers["usual"]),
        f"× {number_words(numbers['odds_ratio'])}" if numbers["odds_ratio"] is not None else "–",
        "–" if place is None or place.z is None else signed(place.z, 1),
        "–" if place is None or place.z is None or place.critical is None else f"{place.critical:.1f}",
        "" if place is None else rank_words(place).replace("the run's ", ""),
        "–" if place is None or place.percentile is None else f"{place.percentile:.0f}",
        signed(numbers.get("state_conflict_change"), 4),
        record(line.track) or "–",
    )


MOST_NAMES = 12
"""Names of unremarkable evidence that are listed."""


def explanation_text(explanation: Explanation, *, width: int) -> str:
    """Verdict, evidence and advice as wrapped lines."""
    e = explanation
    title = f"{e.run}, step {e.step} of {e.n_steps}: {e.label} ({e.method}, {e.size})"
    lines = [*_wrapped(title, width), "=" * min(width, len(title)), *_wrapped(e.verdict.text, width), ""]
    lines += _wrapped(trust_words(e), width)
    for section in e.sections:
        lines += ["", *_section(section, width)]
    if e.advice:
        lines += ["", "What to try", "-----------"]
        for advice in e.advice:
            lines += _bullet(f"{advice.action}. Because {advice.why}.", width)
    return "\n".join(lines)


def _section(section: Section, width: int) -> Iterator[str]:
    yield section.title
    yield "-" * len(section.title)
    yield from _wrapped(section.lead, width)
    for line in section.lines:
        if not is_share(line):
            yield from _line(line, width)
    yield from _table([line for line in section.lines if is_share(line)])
    if section.more:
        names = ", ".join(line.label for line in section.more[:MOST_NAMES])
        left = len(section.more) - MOST_NAMES
        yield from _wrapped(f"Nothing of note: {names}{f' and {left} more' if left > 0 else ''}.", width)
    for note in section.notes:
        yield from _wrapped(note, width)


def _line(line: Line, width: int) -> Iterator[str]:
    yield from _bullet(f"{line.text}.", width, mark="!" if line.warn else "-")
    known = track_words(line.track) if line.track is not None and line.track.known else ""
    for said in (place_words(line.place), known):
        yield from wrap(said, width, initial_indent="    ", subsequent_indent="    ") if said else ()


def _table(lines: list[Line]) -> Iterator[str]:
    """Shares in columns; a column without a single entry is left out."""
    if not lines:
        return
    rows = share_rows(lines)
    kept = [k for k in range(len(SHARE_HEADINGS)) if any(row[k] not in ("–", "not known") for row in rows)]
    marks = [" ", *("!" if line.warn else " " for line in lines)]
    cells = [[SHARE_HEADINGS[k] for k in kept], *([row[k] for k in kept] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(kept))]
    for mark, row in zip(marks, cells, strict=True):
        yield f"{mark} {_joined(row, widths)}".rstrip()


def _joined(row: Iterable[str], widths: list[int]) -> str:
    first, *rest = zip(row, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(size) for cell, size in rest)])


def _bullet(text: str, width: int, *, mark: str = "-") -> list[str]:
    return wrap(text, width, initial_indent=f"{mark} ", subsequent_indent="  ", break_long_words=False)


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(text, width, break_long_words=False)


def explanation_json(explanation: Explanation, *, indent: int | None) -> str:
    """Every field by its name; numbers that are not finite are null."""
    return json.dumps(explanation_record(explanation), indent=indent, ensure_ascii=False, allow_nan=False)


def explanation_record(value: Any) -> Any:
    """Dataclasses as dictionaries, sequences as lists."""
    if is_dataclass(value):
        return {field.name: explanation_record(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): explanation_record(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [explanation_record(part) for part in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
