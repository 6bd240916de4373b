"""The figures, inlined: as SVG where that is small, else as PNG."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from html import escape
from io import BytesIO

import matplotlib.pyplot as plt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from geodiag.figures import FIGURES, Figure, NothingToDraw, Tables, caption, theme
from geodiag.figures.captions import join
from geodiag.figures.data import ROWS
from geodiag.tables.compute import Computed

LARGEST_SVG = 90_000
"""Bytes from which a figure is inlined as PNG: scatter plots have thousands of paths."""
DPI = 170
"""Dots an inch of a PNG: sharp at twice the width of a page of text."""


@dataclass(frozen=True)
class Picture:
    """One figure."""

    title: str
    """Its heading."""
    caption: str
    """What it shows, from how many observations."""
    source: str
    """The image as a data URI; empty where it was not drawn."""
    reason: str = ""
    """Why it was not drawn."""


def draw_pictures(computed: Computed) -> list[Picture]:
    """Every figure that is not about one run alone, from tables that are computed already."""
    tables = _tables(computed)
    return [_draw(figure, tables) for figure in FIGURES if not figure.per_run]


def pictures_html(pictures: list[Picture]) -> str:
    """The figures with their captions, then those that could not be drawn."""
    drawn = "".join(_figure(picture) for picture in pictures if picture.source)
    missing = [picture for picture in pictures if not picture.source]
    if not missing:
        return drawn
    rows = "".join(f"<li>{escape(picture.title)}: {escape(picture.reason)}</li>" for picture in missing)
    return f"{drawn}<h3>Not drawn</h3><ul>{rows}</ul>"


def _tables(computed: Computed) -> Tables:
    inputs = computed.inputs

    def fetch(name: str) -> pl.DataFrame:
        if name in ROWS:
            return ROWS[name](inputs)
        if name in computed.frames:
            return computed.frames[name]
        raise NothingToDraw(computed.missing.get(name, f"there is no table {name}"))

    return Tables(fetch, origin=str(inputs.store.path), runs=inputs.store.runs().height)


def _draw(figure: Figure, tables: Tables) -> Picture:
    try:
        found = figure.draw(tables)
    except NothingToDraw as reason:
        return Picture(figure.title, "", "", str(reason))
    axes: list[Axes] = [found] if isinstance(found, Axes) else list(found)
    canvas = axes[0].get_figure(root=True)
    assert isinstance(canvas, Canvas)
    try:
        return Picture(figure.title, join([caption(ax) for ax in axes]), _inline(canvas))
    finally:
        plt.close(canvas)


def _inline(canvas: Canvas) -> str:
    svg = _bytes(canvas, "svg")
    if len(svg) <= LARGEST_SVG:
        return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
    return f"data:image/png;base64,{b64encode(_bytes(canvas, 'png')).decode()}"


def _bytes(canvas: Canvas, form: str) -> bytes:
    """A figure as a file, the same bytes every time."""
    out = BytesIO()
    with theme():
        canvas.savefig(out, format=form, dpi=DPI, metadata={"Date": None} if form == "svg" else None)
    return out.getvalue()


def _figure(picture: Picture) -> str:
    alt = escape(f"{picture.title}. {picture.caption}", quote=True)
    return (
        f"<figure class='picture'><img src='{picture.source}' alt='{alt}' loading='lazy'>"
        f"<figcaption><b>{escape(picture.title)}.</b> {escape(picture.caption)}</figcaption></figure>"
    )
