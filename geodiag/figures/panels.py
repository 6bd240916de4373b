"""Figures of several panels. A panel that the data does not fill is left out and named, the others move up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from geodiag.errors import SettingsError
from geodiag.figures.captions import Missing, describe_missing
from geodiag.figures.data import NothingToDraw, Tables
from geodiag.figures.theme import TWO_COLUMNS


@dataclass(frozen=True)
class Ready:
    """The numbers of one axes, ready to be drawn."""

    draw: Callable[[Axes], None]
    """Draws them."""
    height: float = 1.9
    """The inches it needs, with its labels."""


Prepare: TypeAlias = Callable[[Tables], Sequence[Ready]]


@dataclass(frozen=True)
class Panel:
    """A part of a figure under one letter: one axes, or several of a kind side by side."""

    title: str
    """Its heading, and its name where it is left out."""
    prepare: Prepare
    """Takes its numbers from tables; raises `NothingToDraw` where they lack them."""
    width: float = 1.0
    """Its share of the row's width, relative to the row's other panels."""


@dataclass(frozen=True)
class _Filled:
    panel: Panel
    ready: Sequence[Ready]


def compose(
    tables: Tables,
    rows: Sequence[Sequence[Panel]],
    axes: Iterable[Axes] | None,
    *,
    width: float = TWO_COLUMNS,
    legend: bool = False,
    aligned: bool = False,
) -> list[Axes]:
    """Draws the panels that the data fills.

    Args:
        tables: the data.
        rows: panels, row by row.
        axes: axes to draw in, as many as the filled panels need; new ones by default.
        width: width of a new figure in inches.
        aligned: whether axes of all rows stand in columns of one width; else each row fills the width.
        legend: whether curves and points of all panels share a legend, below a new figure or else in the first axes.

    Raises:
        NothingToDraw: no panel can be drawn.
        SettingsError: another number of axes was given than is needed.
    """
    filled, missing = _fill(tables, rows)
    if not filled:
        raise NothingToDraw("; ".join(dict.fromkeys(m.reason for m in missing)))
    drawn = _given_axes(axes, filled) if axes is not None else _grid(filled, width, aligned=aligned)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    places = iter(drawn)
    parts = list(chain.from_iterable(filled))
    for part in parts:
        mark = f"({next(letters)}) " if len(parts) > 1 else ""
        for k, ready in enumerate(part.ready):
            ax = next(places)
            ready.draw(ax)
            title = ax.get_title() or (part.panel.title if len(part.ready) == 1 else "")
            # Only the text is set: a title that was moved to make room stays where it is.
            ax.title.set_text(f"{mark if k == 0 else ''}{title}")
    if legend:
        _shared_legend(drawn, below=axes is None)
    describe_missing(drawn[0], missing)
    return drawn


def rows_of(panels: Sequence[Panel], across: int) -> list[Sequence[Panel]]:
    """Panels in rows of at most `across`."""
    return [panels[k : k + across] for k in range(0, len(panels), across)]


def _fill(tables: Tables, rows: Sequence[Sequence[Panel]]) -> tuple[list[list[_Filled]], list[Missing]]:
    filled: list[list[_Filled]] = []
    missing: list[Missing] = []
    for row in rows:
        parts = []
        for panel in row:
            try:
                parts.append(_Filled(panel, panel.prepare(tables)))
            except NothingToDraw as reason:
                missing.append(Missing(panel.title, str(reason)))
        filled += [parts] if parts else []
    return filled, missing


def _grid(filled: Sequence[Sequence[_Filled]], width: float, *, aligned: bool) -> list[Axes]:
    heights, shares = [], []
    for row in filled:
        heights.append(max(ready.height for part in row for ready in part.ready))
        shares.append([part.panel.width / len(part.ready) for part in row for _ in part.ready])
    figure = plt.figure(figsize=(width, sum(heights)), layout="constrained")
    if aligned:
        grid = figure.add_gridspec(len(filled), max(map(len, shares)), height_ratios=heights)
        return [figure.add_subplot(grid[k, j]) for k, widths in enumerate(shares) for j in range(len(widths))]
    rows = figure.add_gridspec(len(filled), 1, height_ratios=heights)
    grid_axes: list[Axes] = []
    for k, widths in enumerate(shares):
        inner = rows[k].subgridspec(1, len(widths), width_ratios=widths)
        grid_axes += [figure.add_subplot(inner[0, j]) for j in range(len(widths))]
    return grid_axes


def _given_axes(axes: Iterable[Axes], filled: Sequence[Sequence[_Filled]]) -> list[Axes]:
    given, count = list(axes), sum(len(part.ready) for row in filled for part in row)
    if len(given) != count:
        raise SettingsError(f"{len(given)} axes were given", fix=f"this data fills {count}")
    return given


def _shared_legend(axes: Sequence[Axes], *, below: bool) -> None:
    """One legend of everything that has a label, each label once."""
    handles: dict[str, Artist] = {}
    for ax in axes:
        for handle, text in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(text, handle)
    if not handles:
        return
    where = {"loc": "outside lower center", "ncols": min(len(handles), 6)} if below else {"loc": "best"}
    (axes[0].figure if below else axes[0]).legend(list(handles.values()), list(handles), **where)
