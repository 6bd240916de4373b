"""The page: what a store says of forgetting, then every table with what it asks, shows and hides."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from geodiag.tables.format import Grid, as_grid
from geodiag.tables.page import Page, Section

_INTRO = {
    "ours": (
        "What we stand behind",
        "Intervals here leave out one run after the other (jackknife on Fisher's scale with t quantiles); p-values "
        "exchange whole runs, so that what all runs share, a trend over steps above all, cannot make a finding. "
        "Simulated with 20 runs, both keep what they promise.",
    ),
    "paper": (
        "The paper's tables, its way",
        "**The intervals and p-values below are the paper's**, to be held against its published numbers: percentile "
        "intervals from resampling runs, a little too short at 20 runs, and p-values from shuffling rows freely, which "
        "takes the steps of one run for independent. Shuffled so, a signal that shares nothing with forgetting but a "
        "trend over steps is found significant nine times in ten. Do not cite them without those above.",
    ),
    "figure": (
        "Numbers behind the paper's figures",
        "Estimates alone, but for `intervals`, which has the paper's intervals of them all.",
    ),
}


def as_markdown(page: Page) -> str:
    """The page as Markdown."""
    parts = ["# What explains forgetting, and what does not", *_top(page)]
    for part, (title, text) in _INTRO.items():
        sections = [section for section in page.sections if section.table.part == part]
        if sections:
            parts += [f"## {title}", text, *(block for section in sections for block in _section(section))]
    if page.missing:
        parts += ["## Not computed", _missing(page)]
    return "\n\n".join(parts) + "\n"


def table_lines(grid: Grid) -> list[str]:
    """A table as aligned lines."""
    cells = [tuple(_escape(text) for text in row) for row in (grid.headings, *grid.rows)]
    widths = [max(3, *(len(row[m]) for row in cells)) for m in range(len(grid.headings))]

    def line(row: Iterable[str]) -> str:
        padded = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, grid.right, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = ("-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, grid.right, strict=True))
    return [line(cells[0]), line(rule), *(line(row) for row in cells[1:])]


def _top(page: Page) -> list[str]:
    return [*page.summary, _bullets(page.notes)]


def _section(section: Section) -> list[str]:
    table = section.table
    told = [f"*Asks:* {table.question}"]
    told += [f"*Shows:* {section.shows}"] if section.shows else []
    told += [f"*Distrust:* {table.distrust}", f"*File:* `{table.name}.csv`"]
    blocks = [f"### {table.title}", "  \n".join(told)]
    for panel in section.panels:
        blocks += [panel.caption] if panel.caption else []
        blocks += [_bullets(f"**{term}**: {meaning}" for term, meaning in panel.legend)] if panel.legend else []
        blocks += [_rows(panel.frame)] if panel.frame.width else []
    return blocks


def _rows(frame: pl.DataFrame) -> str:
    return "\n".join(table_lines(as_grid(frame))) if frame.height else "No rows."


def _missing(page: Page) -> str:
    return _bullets(f"{table.title}: {why}." for table, why in page.missing)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")
