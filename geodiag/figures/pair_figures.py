"""Figures of pairs of tasks: conflict of their updates, and score changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from numpy.typing import NDArray

from geodiag.figures.axes import finish, has_values, one_axes
from geodiag.figures.captions import describe
from geodiag.figures.colors import Scale, centred_scale, method_styles, ordered_colors, share_scale
from geodiag.figures.correlation_maps import interval_note, is_bounded
from geodiag.figures.correlation_panels import BOUNDED, observations, target_bars, unique
from geodiag.figures.data import Data, NothingToDraw, Tables, as_tables, need, with_intervals
from geodiag.figures.estimates import Series, draw_bars
from geodiag.figures.family_panels import family_share_panel, locus_bars
from geodiag.figures.heatmap import Cells, cells, draw_cells, heatmap_size
from geodiag.figures.labels import RHO, label, order_tasks, task_title
from geodiag.figures.outcomes import harmful_bars
from geodiag.figures.panels import Panel, Prepare, Ready, compose
from geodiag.figures.scatter import regime_clouds
from geodiag.figures.theme import TWO_COLUMNS, themed
from geodiag.tables.options import order_methods

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
    frame = pair_figure_rows(data, "mean_conflict", run)
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
    frame = pair_figure_rows(data, "drop", run)
    matrix = task_cells(frame, "drop", order_tasks(frame))
    ax = one_axes(ax, pair_size(matrix))
    draw_pairs(ax, matrix, centred_scale(matrix.values, "Score change (fraction)"))
    finish(ax, x="Old task", y="New task", title=run or "")
    said = f"Change of the old task's score in the step that trained the new task{_over(run)}; red: lost; {EMPTY}"
    describe(ax, said, table="pair_signals", frame=frame)
    return ax


def pair_figure_rows(data: Data, value: str, run: str | None = None) -> pl.DataFrame:
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
    rows, columns = ([task_title(task) for task in names] for names in (matrix.rows, matrix.columns))
    digits = 2 if len(columns) <= 7 else None
    draw_cells(ax, matrix, scale, row_labels=rows, column_labels=columns, digits=digits, bar=bar, turn=True)


def _over(run: str | None) -> str:
    return "" if run else " and runs"


BY_METHOD, BY_SIZE = "table13_pairwise_by_method", "table14_pairwise_by_scale"


@themed
def fig03_alignment_and_harm(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """From pairs of tasks to layers: alignment and conflict, what they say of harm, and where they sit."""
    harm = "Most harmful transitions"
    rows = [
        [
            Panel("Alignment, conflict and harm", regime_clouds(), width=1.5),
            Panel("Geometry against gradients", target_bars()),
        ],
        [
            Panel(label("gc_drop"), relation_bars("gc_drop")),
            Panel(label("gc_forget"), relation_bars("gc_forget")),
        ],
        [
            Panel(harm, harmful_bars(harm, with_geometry=False, most=8)),
            Panel("Top layers", locus_bars()),
        ],
        [
            Panel("Most geometry conflict", family_share_panel("top_geometry_conflict", bar=False)),
            Panel("Most negative gradient", family_share_panel("top_negative_gradient")),
        ],
    ]
    return compose(as_tables(data, name="pair_signals"), rows, axes)


@themed
def fig14_pair_change_by_method(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Change of every old task's score while a new task was trained, method by method, averaged over runs."""
    about = "Mean change of the old task's score in the step that trained the new task; red: lost"
    spec = TaskMaps("drop", about, lambda values: centred_scale(values, "Score change (fraction)"))
    return _draw_maps(as_tables(data, name="pair_signals"), spec, axes)


@themed
def fig15_pair_conflict_by_method(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Geometry conflict of every two tasks' updates, method by method, averaged over runs."""
    about = "Mean geometry conflict of the two tasks' updates over layers and runs"
    spec = TaskMaps("mean_conflict", about, lambda values: share_scale(values, "Geometry conflict"), directed=False)
    return _draw_maps(as_tables(data, name="pair_signals"), spec, axes)


def relation_bars(relation: str) -> Prepare:
    """A correlation over pairs, for each method and then for each size."""

    def prepare(tables: Tables) -> list[Ready]:
        found = [(by, tables.find(name)) for by, name in (("method", BY_METHOD), ("size", BY_SIZE))]
        parts = [
            _relation_rows(tables, frame, relation, by)
            for by, frame in found
            if frame is not None and has_values(frame, relation)
        ]
        if not parts:
            raise NothingToDraw(f"neither {BY_METHOD} nor {BY_SIZE} has {label(relation)}")
        frame = pl.concat(parts, how="diagonal")
        return [_relation_ready(frame, relation, _group_styles(found), tables)]

    return prepare


def _relation_rows(tables: Tables, frame: pl.DataFrame, relation: str, by: str) -> pl.DataFrame:
    rows = frame.select(by, "n", relation=pl.lit(relation), spearman=relation)
    return with_intervals(tables, rows, level="pair", by=by).rename({by: "group"})


@dataclass(frozen=True)
class TaskMaps:
    """Task by task heatmaps with one scale, one a method."""

    value: str
    """The column of `pair_signals`."""
    about: str
    """What it is, for the caption."""
    scale: Callable[[NDArray[np.float64]], Scale]
    """The scale of all values."""
    directed: bool = True
    """Whether it differs between new-old and old-new."""


def _draw_maps(tables: Tables, spec: TaskMaps, axes: Iterable[Axes] | None) -> list[Axes]:
    frame = pair_figure_rows(tables, spec.value)
    tasks, methods = order_tasks(frame), order_methods(frame["method"])
    across = 2 if len(tasks) <= 20 and len(methods) > 1 else 1
    shown = {method: _method_cells(frame, method, spec, tasks) for method in methods}
    scale = spec.scale(np.concatenate([matrix.values.ravel() for matrix in shown.values()]))
    panels = [
        Panel(method, _map_panel(frame.filter(pl.col("method") == method), shown[method], spec, scale, across=across))
        for method in methods
    ]
    rows = [panels[k : k + across] for k in range(0, len(panels), across)]
    return compose(tables, rows, axes, aligned=True)


def _method_cells(frame: pl.DataFrame, method: str, spec: TaskMaps, tasks: Sequence[str]) -> Cells:
    rows = frame.filter(pl.col("method") == method)
    return task_cells(rows if spec.directed else ordered(rows, tasks), spec.value, tasks)


def _map_panel(rows: pl.DataFrame, matrix: Cells, spec: TaskMaps, scale: Scale, *, across: int) -> Prepare:
    def draw(ax: Axes) -> None:
        draw_pairs(ax, matrix, scale)
        finish(ax, x="Old task", y="New task")
        describe(ax, f"{rows['method'][0]}: {spec.about}; {EMPTY}", table="pair_signals", frame=rows)

    height = pair_size(matrix, width=TWO_COLUMNS / across)[1]
    return lambda _: [Ready(draw, height)]


def _relation_ready(frame: pl.DataFrame, relation: str, styles: dict[str, Series], tables: Tables) -> Ready:
    def draw(ax: Axes) -> None:
        draw_bars(
            ax,
            frame,
            category="group",
            series="group",
            styles=styles,
            value="spearman",
            low="ci_low" if is_bounded(frame) else None,
            high="ci_high" if is_bounded(frame) else None,
            dodge=False,
            y_label=RHO,
            turn=True,
        )
        text = f"Rank correlation over pairs, {label(relation)}, by method and by size. {interval_note(frame, BOUNDED)}"
        n = observations(frame, "", each="method or size")
        describe(ax, text, table=f"{BY_METHOD}, {BY_SIZE}", frame=frame, n=n, runs=tables.runs)

    return Ready(draw, 1.9)


def _group_styles(frames: Sequence[tuple[str, pl.DataFrame | None]]) -> dict[str, Series]:
    """Methods in their colours, sizes dark to light."""
    groups = {by: unique(frame, by) for by, frame in frames if frame is not None}
    methods = {name: Series(name, color) for name, (color, _) in method_styles(groups.get("method", [])).items()}
    sizes = groups.get("size", [])
    return methods | {name: Series(name, c) for name, c in zip(sizes, ordered_colors(len(sizes)), strict=True)}
