"""Bars in groups, with whiskers where there are intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from geodiag.figures.forest import Series
from geodiag.figures.layout import finish, grid_lines
from geodiag.figures.theme import INK


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
