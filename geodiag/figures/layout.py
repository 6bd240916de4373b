"""Axes: new ones, those that a caller gave, and what all of them have in common."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator

from geodiag.errors import SettingsError
from geodiag.figures.theme import FAINT, INK, SMALL

Size = tuple[float, float]
"""Width and height in inches."""


def one_axes(ax: Axes | None, size: Size) -> Axes:
    """The axes given, or those of a new figure of that size."""
    return ax if ax is not None else new_axes(1, 1, size)[0]


def many_axes(
    axes: Iterable[Axes] | None, rows: int, columns: int, size: Size, *, count: int | None = None
) -> list[Axes]:
    """The axes given, or a new grid of them.

    Args:
        axes: as many axes as are drawn in, or None.
        rows: rows of the grid.
        columns: columns of the grid.
        size: width and height of the whole in inches.
        count: how many are drawn in; the rest of the grid is taken away.

    Raises:
        SettingsError: another number of axes was given.
    """
    count = rows * columns if count is None else count
    if axes is None:
        grid = new_axes(rows, columns, size)
        for spare in grid[count:]:
            spare.remove()
        return grid[:count]
    given = list(np.ravel(np.asarray(list(axes), dtype=object)))
    if len(given) != count:
        raise SettingsError(f"{len(given)} axes were given", fix=f"this data needs {count}")
    return given


def new_axes(rows: int, columns: int, size: Size) -> list[Axes]:
    """A new figure's axes, row by row."""
    _, grid = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    return [ax for row in grid for ax in row]


def finish(ax: Axes, *, x: str = "", y: str = "", title: str = "") -> Axes:
    """Labels axes, and fixes what Matplotlib would otherwise look up in rcParams only when it draws."""
    ax.set_xlabel(x or ax.get_xlabel())
    ax.set_ylabel(y or ax.get_ylabel())
    if title:
        ax.set_title(title)
    for axis in (ax.xaxis, ax.yaxis):
        # Ticks at fixed places are there already; others are made when the figure is drawn, outside the theme.
        if not isinstance(axis.get_major_locator(), FixedLocator):
            axis.set_tick_params(labelsize=SMALL, length=2, width=0.6, pad=2, color=INK, labelcolor=INK)
    return ax


def zero_line(ax: Axes, *, along: str = "x") -> None:
    """A thin line at 0; `along` is the axis it runs along."""
    line = ax.axhline if along == "x" else ax.axvline
    line(0, color="#888888", linewidth=0.6, zorder=0.5)


def grid_lines(ax: Axes, *, axis: str) -> None:
    """Faint lines across one axis' ticks."""
    ax.grid(visible=True, axis=axis, color=FAINT, linewidth=0.5)  # type: ignore[arg-type]
