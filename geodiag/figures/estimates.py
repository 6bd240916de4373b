"""Estimates with intervals, as forests and as grouped bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from geodiag.figures.axes import finish, grid_lines, zero_line
from geodiag.figures.captions import RHO
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


@dataclass(frozen=True)
class Estimates:
    """Estimates of a table, and how they are arranged and named."""

    frame: pl.DataFrame
    """One row an estimate."""
    category: str
    """The column that names a place on the axis: a line of a forest, a group of bars."""
    series: str
    """The column that names the series of an estimate."""
    styles: Mapping[str, Series]
    """How each series is drawn, in order."""
    value: str = "spearman"
    """The column of the estimate."""
    interval: tuple[str, str] | None = ("ci_low", "ci_high")
    """The columns of the interval's lower and upper end; None for no whiskers."""
    dodge: bool = True
    """Whether series of one category stand side by side; else at one place."""
    name: Callable[[str], str] = str
    """The label of a category."""
    unit: str = RHO
    """What is measured, for the axis."""

    @property
    def categories(self) -> list[str]:
        """Categories in the order of the rows."""
        return list(dict.fromkeys(self.frame[self.category].to_list()))

    @property
    def labels(self) -> list[str]:
        """The labels of the categories."""
        return [self.name(category) for category in self.categories]

    def offsets(self, distance: float) -> dict[str, float]:
        """Places of the series around the category's, from first to last, `distance` apart."""
        middle = (len(self.styles) - 1) / 2
        return {name: (k - middle) * distance if self.dodge else 0.0 for k, name in enumerate(self.styles)}

    def bounds(self, row: Mapping[str, Any]) -> tuple[float, float] | None:
        """The interval of a row; None where it has none."""
        if self.interval is None or any(row[name] is None for name in self.interval):
            return None
        return row[self.interval[0]], row[self.interval[1]]


def draw_forest(ax: Axes, estimates: Estimates, *, limits: tuple[float, float] | None = (-1.0, 1.0)) -> None:
    """Draws estimates with whiskers, a line of the axes for each category.

    An estimate without an interval is hollow and has no whisker; one that is undefined is not drawn.

    Args:
        ax: where to.
        estimates: the estimates.
        limits: ends of the horizontal axis; those of the numbers where None.
    """
    categories = estimates.categories
    offsets = estimates.offsets(min(0.22, 0.76 / max(len(estimates.styles), 1)))
    for row in estimates.frame.iter_rows(named=True):
        if row[estimates.value] is not None:
            y = categories.index(row[estimates.category]) + offsets[row[estimates.series]]
            style = estimates.styles[row[estimates.series]]
            _draw_estimate(ax, y, row[estimates.value], estimates.bounds(row), style)
    ax.set_ylim(len(categories) - 0.5, -0.5)
    ax.set_yticks(range(len(categories)), labels=estimates.labels)
    for edge in range(1, len(categories) if estimates.dodge else 0):
        ax.axhline(edge - 0.5, color="#e6e6e6", linewidth=0.5, zorder=0)
    if limits is not None:
        # A marker at the very end is shown whole.
        room = 0.05 * (limits[1] - limits[0]) / 2
        ax.set_xlim(limits[0] - room, limits[1] + room)
        ax.set_xticks(np.linspace(*limits, 5), labels=[f"{x:g}".replace("-", "−") for x in np.linspace(*limits, 5)])
    zero_line(ax, along="y")
    grid_lines(ax, axis="x")
    finish(ax, x=estimates.unit)
    ax.tick_params(axis="y", length=0)


def forest_legend(ax: Axes, styles: Mapping[str, Series]) -> None:
    """A legend of the series to the right of the axes, where it covers no estimate."""
    handles = [
        Line2D([], [], color=s.color, marker=s.marker, linewidth=0.9, label=s.label) for s in styles.values() if s.label
    ]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_estimate(ax: Axes, y: float, value: float, bounds: tuple[float, float] | None, style: Series) -> None:
    if bounds is not None:
        ax.plot(bounds, [y, y], color=style.color, linewidth=0.9, solid_capstyle="butt", zorder=2)
    face = "white" if bounds is None else style.color
    point: dict[str, Any] = {"color": style.color, "markerfacecolor": face, "linestyle": "none"}
    ax.plot([value], [y], marker=style.marker, markersize=3.2, zorder=3, **point)


def draw_bars(ax: Axes, estimates: Estimates, *, turn: bool = False) -> None:
    """Draws bars, a place on the horizontal axis for each category. An estimate that is undefined has no bar.

    Args:
        ax: where to.
        estimates: the estimates.
        turn: whether labels of categories stand upright.
    """
    categories = estimates.categories
    width = 0.8 / len(estimates.styles) if estimates.dodge else 0.65
    offsets = estimates.offsets(width)
    for row in estimates.frame.iter_rows(named=True):
        if row[estimates.value] is None:
            continue
        x = categories.index(row[estimates.category]) + offsets[row[estimates.series]]
        color = estimates.styles[row[estimates.series]].color
        ax.bar(x, row[estimates.value], width=width * 0.92, color=color, zorder=2)
        bounds = estimates.bounds(row)
        if bounds is not None:
            ax.plot([x, x], bounds, color=INK, linewidth=0.8, zorder=3)
    ax.axhline(0, color=INK, linewidth=0.6, zorder=2)
    ax.set_xlim(-0.6, len(categories) - 0.4)
    ax.set_xticks(range(len(categories)), labels=estimates.labels, rotation=90 if turn else 0)
    grid_lines(ax, axis="y")
    finish(ax, y=estimates.unit)
    ax.tick_params(axis="x", length=0)


def bar_legend(ax: Axes, styles: Mapping[str, Series]) -> None:
    """A legend of the series above the bars."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.15 * len(styles) * (high - low))
    handles = [Patch(color=s.color, label=s.label) for s in styles.values() if s.label]
    ax.legend(handles=handles, loc="upper right", handlelength=0.9)
