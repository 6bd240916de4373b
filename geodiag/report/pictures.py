"""Figures as inlined PNG pictures, with their captions."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from html import escape

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from geodiag.figures import FIGURES, Caption, Figure, NothingToDraw, Tables, caption, computed_tables
from geodiag.figures.theme import png_bytes
from geodiag.tables.catalog import Computed

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
