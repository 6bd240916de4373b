"""Axes of figures: creation, common finish, and curves over the steps of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator
from numpy.typing import NDArray

from geodiag.errors import SettingsError
from geodiag.figures.captions import task_title
from geodiag.figures.colors import signal_color, signal_marker
from geodiag.figures.theme import FAINT, INK, SMALL_TEXT, TINY
from geodiag.signals.catalog import label

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
        count: how many are drawn in; the rest of the grid is removed.

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
    """Labels axes, and sets the tick style, which Matplotlib would look up in rcParams only when it draws."""
    ax.set_xlabel(x or ax.get_xlabel())
    ax.set_ylabel(y or ax.get_ylabel())
    if title:
        ax.set_title(title)
    for axis in (ax.xaxis, ax.yaxis):
        # Ticks at fixed places are there already; others are made when the figure is drawn, outside the theme.
        if not isinstance(axis.get_major_locator(), FixedLocator):
            axis.set_tick_params(labelsize=SMALL_TEXT, length=2, width=0.6, pad=2, color=INK, labelcolor=INK)
    return ax


def zero_line(ax: Axes, *, along: str = "x") -> None:
    """A thin line at 0; `along` is the axis it runs along."""
    line = ax.axhline if along == "x" else ax.axvline
    line(0, color="#888888", linewidth=0.6, zorder=0.5)


def grid_lines(ax: Axes, *, axis: str) -> None:
    """Faint lines across one axis' ticks."""
    ax.grid(visible=True, axis=axis, color=FAINT, linewidth=0.5)  # type: ignore[arg-type]


def values(frame: pl.DataFrame, name: str) -> NDArray[np.float64]:
    """A column as floats, NaN where it is null."""
    return frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def has_values(frame: pl.DataFrame, name: str) -> bool:
    """Whether a frame has a column and a value in it."""
    return name in frame.columns and frame[name].drop_nulls().len() > 0


def draw_lines(ax: Axes, frame: pl.DataFrame, names: Sequence[str], *, width: float = 1.1) -> list[Line2D]:
    """Draws columns against the step. A missing value interrupts its line.

    Args:
        ax: where to.
        frame: one row a step, of one run.
        names: the columns.
        width: points of the lines.
    """
    rows = frame.sort("step")
    return [
        ax.plot(
            values(rows, "step"),
            values(rows, name),
            color=signal_color(name),
            marker=signal_marker(name),
            label=label(name),
            linewidth=width,
        )[0]
        for name in names
    ]


def step_axis(ax: Axes, frame: pl.DataFrame, *, tasks: bool) -> None:
    """Ticks at every step, with the task trained there where `tasks` is set."""
    rows = frame.sort("step").unique("step", keep="first", maintain_order=True)
    steps = rows["step"].to_list()
    ax.set_xlim(min(steps) - 0.5, max(steps) + 0.5)
    if not tasks:
        shown = steps[:: max(1, len(steps) // 7)]
        ax.set_xticks(shown, labels=[str(step) for step in shown])
        return
    names = [
        f"{task_title(task)}  {step}" if task else str(step) for step, task in rows.select("step", "task").iter_rows()
    ]
    ax.set_xticks(steps, labels=names, rotation=90, fontsize=SMALL_TEXT if len(steps) <= 20 else TINY)


def one_run(frame: pl.DataFrame, run: str | None) -> pl.DataFrame:
    """The rows of one run.

    Raises:
        SettingsError: there are several and none is named, or none of that name.
    """
    runs = frame["run"].unique().sort().to_list()
    if run is None and len(runs) == 1:
        return frame
    if run not in runs:
        problem = "no run is named" if run is None else f"there is no run {run!r}"
        raise SettingsError(problem, fix=f"give run=, one of: {', '.join(runs)}")
    return frame.filter(pl.col("run") == run)
