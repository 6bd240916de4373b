"""Estimates with intervals, as forests and as grouped bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from geodiag.figures.axes import finish, grid_lines, zero_line
from geodiag.figures.labels import RHO
from geodiag.figures.theme import INK


@dataclass(frozen=True)
class Series:
    """How one kind of estimate is drawn."""

    label: str
    """Its name in the legend; empty for none."""
    color: str
    """Its colour."""
    marker: str = "o"
    """Its marker."""


def draw_forest(
    ax: Axes,
    frame: pl.DataFrame,
    *,
    category: str,
    series: str,
    styles: Mapping[str, Series],
    columns: tuple[str, str, str] = ("spearman", "ci_low", "ci_high"),
    dodge: bool = True,
    name: Callable[[str], str] = str,
    x_label: str = RHO,
    limits: tuple[float, float] | None = (-1.0, 1.0),
) -> None:
    """Draws estimates with whiskers: a line of the axes for each category, beside each other within it.

    An estimate without an interval is hollow and has no whisker; one that is undefined is not drawn.

    Args:
        ax: where to.
        frame: one row an estimate.
        category: the column that names a line.
        series: the column that tells estimates of one line apart.
        styles: how each series is drawn, in order.
        columns: those of the estimate and of the interval's lower and upper end.
        dodge: whether series of one line stand one below the other; else at one height.
        name: what a category is called.
        x_label: what is measured.
        limits: ends of the horizontal axis; those of the numbers where None.
    """
    categories = list(dict.fromkeys(frame[category].to_list()))
    offsets = _offsets(list(styles)) if dodge else dict.fromkeys(styles, 0.0)
    for row in frame.iter_rows(named=True):
        y = categories.index(row[category]) + offsets[row[series]]
        _draw_estimate(ax, y, tuple(row[name] for name in columns), styles[row[series]])
    ax.set_ylim(len(categories) - 0.5, -0.5)
    ax.set_yticks(range(len(categories)), labels=[name(c) for c in categories])
    for edge in range(1, len(categories) if dodge else 0):
        ax.axhline(edge - 0.5, color="#e6e6e6", linewidth=0.5, zorder=0)
    if limits is not None:
        # A marker at the very end is shown whole.
        room = 0.05 * (limits[1] - limits[0]) / 2
        ax.set_xlim(limits[0] - room, limits[1] + room)
        ax.set_xticks(np.linspace(*limits, 5), labels=[f"{x:g}".replace("-", "−") for x in np.linspace(*limits, 5)])
    zero_line(ax, along="y")
    grid_lines(ax, axis="x")
    finish(ax, x=x_label)
    ax.tick_params(axis="y", length=0)


def forest_legend(ax: Axes, styles: Mapping[str, Series]) -> None:
    """A legend of the series to the right of the axes, where it covers no estimate."""
    handles = [
        Line2D([], [], color=s.color, marker=s.marker, linewidth=0.9, label=s.label) for s in styles.values() if s.label
    ]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_estimate(ax: Axes, y: float, estimate: tuple[float | None, ...], style: Series) -> None:
    value, low, high = estimate
    if value is None:
        return
    face = "white"
    if low is not None and high is not None:
        face = style.color
        ax.plot([low, high], [y, y], color=style.color, linewidth=0.9, solid_capstyle="butt", zorder=2)
    point: dict[str, Any] = {"color": style.color, "markerfacecolor": face, "linestyle": "none"}
    ax.plot([value], [y], marker=style.marker, markersize=3.2, zorder=3, **point)


def _offsets(names: Sequence[str]) -> dict[str, float]:
    """Places around 0, from above to below, so that all of one line fit into it."""
    step = min(0.22, 0.76 / max(len(names), 1))
    return {name: (k - (len(names) - 1) / 2) * step for k, name in enumerate(names)}


def draw_bars(
    ax: Axes,
    frame: pl.DataFrame,
    *,
    category: str,
    series: str,
    styles: Mapping[str, Series],
    value: str,
    low: str | None = None,
    high: str | None = None,
    dodge: bool = True,
    name: Callable[[str], str] = str,
    y_label: str,
    turn: bool = False,
) -> None:
    """Draws bars: a place on the horizontal axis for each category, one bar a series in it.

    What is undefined has no bar.

    Args:
        ax: where to.
        frame: one row a bar.
        category: the column that names a place.
        series: the column that tells bars of one place apart.
        styles: how each series is drawn, in order.
        value: the column of the bar's height.
        low: the column of a whisker's lower end.
        high: the column of its upper end.
        dodge: whether bars of one place stand side by side; else each place has one.
        name: what a category is called.
        y_label: what is measured, with its unit.
        turn: whether labels of categories stand upright.
    """
    categories = list(dict.fromkeys(frame[category].to_list()))
    width = 0.8 / len(styles) if dodge else 0.65
    places = {key: (k - (len(styles) - 1) / 2) * width if dodge else 0.0 for k, key in enumerate(styles)}
    for row in frame.iter_rows(named=True):
        if row[value] is None:
            continue
        x = categories.index(row[category]) + places[row[series]]
        ax.bar(x, row[value], width=width * 0.92, color=styles[row[series]].color, zorder=2)
        if low and high and row[low] is not None and row[high] is not None:
            ax.plot([x, x], [row[low], row[high]], color=INK, linewidth=0.8, zorder=3)
    ax.axhline(0, color=INK, linewidth=0.6, zorder=2)
    ax.set_xlim(-0.6, len(categories) - 0.4)
    ax.set_xticks(range(len(categories)), labels=[name(c) for c in categories], rotation=90 if turn else 0)
    grid_lines(ax, axis="y")
    finish(ax, y=y_label)
    ax.tick_params(axis="x", length=0)


def bar_legend(ax: Axes, styles: Mapping[str, Series]) -> None:
    """A legend of the series above the bars."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.15 * len(styles) * (high - low))
    handles = [Patch(color=s.color, label=s.label) for s in styles.values() if s.label]
    ax.legend(handles=handles, loc="upper right", handlelength=0.9)
