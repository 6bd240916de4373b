"""An explanation for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap

from geodiag.explain.grid import HEADINGS, is_share, share_rows
from geodiag.explain.results import Explanation, Line, Section
from geodiag.explain.words import place_words, track_words, trust_words

MOST_NAMES = 12
"""Names of unremarkable evidence that are listed."""


def as_text(explanation: Explanation, *, width: int) -> str:
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
    kept = [k for k in range(len(HEADINGS)) if any(row[k] not in ("–", "not known") for row in rows)]
    marks = [" ", *("!" if line.warn else " " for line in lines)]
    cells = [[HEADINGS[k] for k in kept], *([row[k] for k in kept] for row in rows)]
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
