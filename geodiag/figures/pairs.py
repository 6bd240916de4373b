"""Task by task: how two tasks' updates differ, and what training one did to the other."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes

from geodiag.figures.captions import describe
from geodiag.figures.colors import Scale, centred_scale, share_scale
from geodiag.figures.data import Data, NothingToDraw, as_tables, need
from geodiag.figures.heatmap import Cells, cells, draw_cells, heatmap_size
from geodiag.figures.labels import order_tasks, task_label
from geodiag.figures.layout import finish, one_axes
from geodiag.figures.lines import has_values
from geodiag.figures.theme import themed

_KEY = ("run", "step", "new_task", "old_task", "age")
EMPTY = "hatched: without a value; blank: no such pair"
"""What empty cells of a task by task heatmap mean."""


@themed
def pair_conflict_heatmap(data: Data, *, run: str | None = None, ax: Axes | None = None) -> Axes:
    """Geometry conflict of every two tasks' updates, tasks in training order, averaged over runs.

    Args:
        data: a store, or rows of `pair_signals`.
        run: one run; the mean over all by default.
        ax: axes to draw in.

    Raises:
        NothingToDraw: no pair has a conflict.
    """
    frame = pair_rows(data, "mean_conflict", run)
    tasks = order_tasks(frame)
    matrix = task_cells(ordered(frame, tasks), "mean_conflict", tasks)
    ax = one_axes(ax, pair_size(matrix))
    draw_pairs(ax, matrix, share_scale(matrix.values, "Geometry conflict"))
    finish(ax, x="Old task", y="New task", title=run or "")
    said = f"Geometry conflict of two tasks' updates, mean over layers{_over(run)}; {EMPTY}"
    describe(ax, said, table="pair_signals", frame=frame)
    return ax


@themed
def pair_change_heatmap(data: Data, *, run: str | None = None, ax: Axes | None = None) -> Axes:
    """Change of every old task's score while a new task was trained, averaged over runs.

    Args:
        data: a store, or rows of `pair_signals`.
        run: one run; the mean over all by default.
        ax: axes to draw in.

    Raises:
        NothingToDraw: no old task was scored at two steps in a row.
    """
    frame = pair_rows(data, "drop", run)
    matrix = task_cells(frame, "drop", order_tasks(frame))
    ax = one_axes(ax, pair_size(matrix))
    draw_pairs(ax, matrix, centred_scale(matrix.values, "Score change (fraction)"))
    finish(ax, x="Old task", y="New task", title=run or "")
    said = f"Change of the old task's score in the step that trained the new task{_over(run)}; red: lost; {EMPTY}"
    describe(ax, said, table="pair_signals", frame=frame)
    return ax


def pair_rows(data: Data, value: str, run: str | None = None) -> pl.DataFrame:
    """Pair rows of one run or of all, once one of them has the value.

    Raises:
        NothingToDraw: none has.
    """
    frame = need(as_tables(data, name="pair_signals").get("pair_signals"), (*_KEY, value), name="rows")
    frame = frame if run is None else frame.filter(pl.col("run") == run)
    if not has_values(frame, value):
        raise NothingToDraw(f"no pair of tasks has a {value}", run=run)
    return frame


def ordered(frame: pl.DataFrame, tasks: Sequence[str]) -> pl.DataFrame:
    """Pairs with the task that comes first in `tasks` as the old one: for values that have no direction."""
    place = {task: k for k, task in enumerate(tasks)}
    later = pl.col("new_task").replace_strict(place) > pl.col("old_task").replace_strict(place)
    new, old = pl.col("new_task"), pl.col("old_task")
    return frame.with_columns(
        new_task=pl.when(later).then(new).otherwise(old), old_task=pl.when(later).then(old).otherwise(new)
    )


def task_cells(frame: pl.DataFrame, value: str, tasks: Sequence[str]) -> Cells:
    """Means over runs as a matrix, new tasks down, old tasks across."""
    means = frame.group_by("new_task", "old_task").agg(pl.col(value).mean())
    new, old = set(means["new_task"]), set(means["old_task"])
    down, across = [task for task in tasks if task in new], [task for task in tasks if task in old]
    return cells(means, rows="new_task", columns="old_task", value=value, row_order=down, column_order=across)


def pair_size(matrix: Cells, *, width: float | None = None) -> tuple[float, float]:
    """The size of a task by task heatmap, of a given width or of its own."""
    longest = max(len(task) for task in (*matrix.rows, *matrix.columns))
    return heatmap_size(len(matrix.rows), len(matrix.columns), labels=longest, width=width)


def draw_pairs(ax: Axes, matrix: Cells, scale: Scale, *, bar: bool = True) -> None:
    """Draws a task by task matrix; numbers are written where they fit."""
    rows, columns = ([task_label(task) for task in names] for names in (matrix.rows, matrix.columns))
    digits = 2 if len(columns) <= 7 else None
    draw_cells(ax, matrix, scale, row_labels=rows, column_labels=columns, digits=digits, bar=bar, turn=True)


def _over(run: str | None) -> str:
    return "" if run else " and runs"
