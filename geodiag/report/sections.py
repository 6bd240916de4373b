"""Tables of a report as sortable HTML, and figures inlined as PNG."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import matplotlib.pyplot as plt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from geodiag.figures import FIGURES, Caption, Figure, NothingToDraw, Tables, caption, computed_tables
from geodiag.figures.theme import png_bytes
from geodiag.tables.catalog import Computed
from geodiag.tables.format import as_grid
from geodiag.tables.page import Page, PageSection
from geodiag.tables.table import TablePanel, TablePart

PICTURE_DPI = 200
"""Dots an inch of the files."""
PIXELS = 140
"""CSS pixels that an inch takes on the page: letters of 7 points come out at 13 to 14 pixels."""
LONG_PICTURE = 260
"""Characters from which a caption is folded."""


@dataclass(frozen=True)
class Picture:
    """One figure."""

    name: str
    """The name of its function."""
    title: str
    """Its heading."""
    caption: str
    """What it shows, from how many observations."""
    notes: str = ""
    """Caveats of the signals drawn."""
    source: str = ""
    """The image as a data URI; empty where it was not drawn."""
    size: tuple[int, int] = (0, 0)
    """Width and height on the page, in CSS pixels."""
    reason: str = ""
    """The reason why it was not drawn."""


def draw_pictures(computed: Computed) -> list[Picture]:
    """Every figure that is not about one run alone, from tables that are computed already."""
    tables = computed_tables(computed)
    return [_draw(figure, tables) for figure in FIGURES if not figure.per_run]


def pictures_html(pictures: list[Picture]) -> str:
    """A list of the figures, the figures with their captions, then those that could not be drawn."""
    drawn = [picture for picture in pictures if picture.source]
    missing = [picture for picture in pictures if not picture.source]
    index = "".join(f"<li><a href='#{picture.name}'>{escape(picture.title)}</a></li>" for picture in drawn)
    shown = "".join(_figure(picture) for picture in drawn)
    rows = "".join(f"<li>{escape(picture.title)}: {escape(picture.reason)}</li>" for picture in missing)
    excuse = f"<h3>Not drawn</h3><ul>{rows}</ul>" if missing else ""
    return f"<ul class='index'>{index}</ul><div class='pictures'>{shown}</div>{excuse}"


def _draw(figure: Figure, tables: Tables) -> Picture:
    try:
        result = figure.draw(tables)
    except NothingToDraw as reason:
        return Picture(figure.name, figure.title, "", reason=str(reason))
    axes: list[Axes] = [result] if isinstance(result, Axes) else list(result)
    canvas = axes[0].get_figure(root=True)
    assert isinstance(canvas, Canvas)
    try:
        width, height = (round(PIXELS * inches) for inches in canvas.get_size_inches())
        return Picture(
            figure.name, figure.title, *_texts([caption(ax) for ax in axes]), _inline(canvas), (width, height)
        )
    finally:
        plt.close(canvas)


def _texts(captions: list[Caption]) -> tuple[str, str]:
    """The panels' captions, and the caveats of their signals, each sentence once."""
    texts = dict.fromkeys(" ".join(part for part in (c.text, c.counts) if part) for c in captions)
    return " ".join(texts), " ".join(dict.fromkeys(note for c in captions for note in c.notes))


def _inline(canvas: Canvas) -> str:
    """A figure as a data URI, the same bytes every time."""
    return f"data:image/png;base64,{b64encode(png_bytes(canvas, dpi=PICTURE_DPI)).decode()}"


def _figure(picture: Picture) -> str:
    title, text = escape(picture.title), escape(picture.caption)
    if len(text) >= LONG_PICTURE:
        text = f"<details><summary>What the panels show</summary>{text}</details>"
    width, height = picture.size
    image = f"<img src='{picture.source}' width='{width}' height='{height}' alt='Figure: {title}'>"
    return (
        f"<figure class='picture' id='{picture.name}'><div class='wide'>{image}</div>"
        f"<figcaption style='max-width:{width}px'><b>{title}.</b> {escape(picture.notes)} {text}</figcaption></figure>"
    )


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
