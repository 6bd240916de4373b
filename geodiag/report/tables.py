"""Analysis tables as sortable HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

import polars as pl

from geodiag.tables.format import as_grid
from geodiag.tables.page import Page, PageSection
from geodiag.tables.table import TablePanel, TablePart

PARTS: dict[TablePart, tuple[str, str]] = {
    "ours": (
        "What holds",
        "Intervals leave out one run after the other; p-values exchange whole runs, so that what all runs share, the "
        "step index above all, cannot make a finding.",
    ),
    "paper": (
        "The published tables, recomputed on this store",
        "Their intervals resample runs and are a little short with few of them. Their p-values shuffle rows freely, "
        "which takes the steps of one run for independent and finds far too much; read them beside those above.",
    ),
    "figure": ("Numbers behind figures", "Estimates alone, but for the first, which has their intervals."),
}
"""Title and introduction of each group of tables."""


def tables_html(page: Page) -> str:
    """Every table in its group, folded; at the end, tables that could not be made, with the reason."""
    parts = []
    for part, (title, text) in PARTS.items():
        sections = [section for section in page.sections if section.table.part == part]
        if sections:
            folded = "".join(_section(section) for section in sections)
            parts.append(f"<h3>{escape(title)}</h3><p>{escape(text)}</p>{folded}")
    if page.missing:
        rows = "".join(f"<li>{escape(table.title)}: {escape(why)}.</li>" for table, why in page.missing)
        parts.append(f"<h3>Not computed</h3><ul>{rows}</ul>")
    return "".join(parts)


def frame_html(frame: pl.DataFrame, *, caption: str) -> str:
    """A frame as a table that can be sorted by each column."""
    grid = as_grid(frame)
    return table_html(grid.headings, [[escape(cell) for cell in row] for row in grid.rows], grid.right, caption=caption)


def table_html(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[bool], *, caption: str) -> str:
    """A table that can be sorted by each column.

    Args:
        headings: one a column.
        rows: cells, as HTML.
        right: which columns are numbers.
        caption: its name for screen readers.
    """
    classes = [" class='number'" if number else "" for number in right]
    head = "".join(
        f"<th scope='col'{kind}><button type='button' class='sort'>{escape(name)}</button></th>"
        for name, kind in zip(headings, classes, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, classes, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        f"<div class='wide'><table class='sortable'><caption class='hidden'>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def marked_up(text: str) -> str:
    """Text with **bold** and `code` as HTML, everything else escaped."""
    safe = escape(text)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", safe))


def _section(section: PageSection) -> str:
    table = section.table
    lines = [f"<p><b>Asks</b> {escape(table.question)}</p>"]
    lines += [f"<p><b>Shows</b> {escape(section.shows)}</p>"] if section.shows else []
    lines += [f"<p><b>Distrust</b> {escape(table.distrust)}</p>"]
    panels = "".join(_panel(panel, table.title) for panel in section.panels)
    return f"<details><summary>{escape(table.title)}</summary>{''.join(lines)}{panels}</details>"


def _panel(panel: TablePanel, title: str) -> str:
    caption = f"<p>{escape(panel.caption)}</p>" if panel.caption else ""
    legend = "".join(f"<li><b>{escape(term)}</b>: {escape(meaning)}</li>" for term, meaning in panel.legend)
    listed = f"<ul>{legend}</ul>" if legend else ""
    rows = frame_html(panel.frame, caption=panel.caption or title) if panel.frame.width else ""
    return caption + listed + rows
