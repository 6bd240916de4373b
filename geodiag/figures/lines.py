"""Curves over the steps of a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from geodiag.errors import SettingsError
from geodiag.figures.colors import signal_color, signal_marker
from geodiag.figures.labels import label, task_label
from geodiag.figures.theme import SMALL, TINY


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
        f"{task_label(task)}  {step}" if task else str(step) for step, task in rows.select("step", "task").iter_rows()
    ]
    ax.set_xticks(steps, labels=names, rotation=90, fontsize=SMALL if len(steps) <= 20 else TINY)


def one_run(frame: pl.DataFrame, run: str | None) -> pl.DataFrame:
    """The rows of one run.

    Raises:
        SettingsError: there are several and none is named, or none of that name.
    """
    runs = frame["run"].unique().sort().to_list()
    if run is None and len(runs) == 1:
        return frame
    if run not in runs:
        said = "no run is named" if run is None else f"there is no run {run!r}"
        raise SettingsError(said, fix=f"give run=, one of: {', '.join(runs)}")
    return frame.filter(pl.col("run") == run)
