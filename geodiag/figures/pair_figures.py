"""Figures of pairs of tasks: conflict of their updates, and score changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from numpy.typing import NDArray

from geodiag.figures.axes import finish, has_values, one_axes
from geodiag.figures.captions import describe, order_tasks, task_title
from geodiag.figures.colors import Scale, centred_scale, method_styles, ordered_colors, share_scale
from geodiag.figures.correlation_maps import interval_note, is_bounded
from geodiag.figures.correlation_panels import (
    BEST_OF_BOTH,
    BOUNDED,
    PAIRS_BY_METHOD,
    PAIRS_BY_SIZE,
    RIVALS,
    observations,
    strength_bars,
)
from geodiag.figures.data import Data, NothingToDraw, Tables, need, unique, with_intervals
from geodiag.figures.estimates import Estimates, Series, draw_bars
from geodiag.figures.family_figures import SHARES, SHARES_BY_METHOD, family_share_panel, top_layer_bars
from geodiag.figures.heatmap import Cells, cells, draw_cells, heatmap_size
from geodiag.figures.outcomes import HARMFUL, harmful_bars
from geodiag.figures.panels import Panel, Prepare, Ready, compose, rows_of
from geodiag.figures.registry import COMPARED, SCORED, figure
from geodiag.figures.scatter import regime_clouds
from geodiag.figures.theme import TWO_COLUMNS
from geodiag.signals.catalog import label
from geodiag.tables.layers import task_means
from geodiag.tables.options import order_methods

__all__ = [
    "fig03_alignment_and_harm",
    "fig14_pair_change_by_method",
    "fig15_pair_conflict_by_method",
    "pair_change_heatmap",
    "pair_conflict_heatmap",
]

_KEY = ("run", "step", "new_task", "old_task", "age")
EMPTY = "hatched: without a value; blank: no such pair"
"""What empty cells of a task by task heatmap mean."""


@dataclass(frozen=True)
class TaskMap:
    """A value of pairs that is drawn task by task."""

    value: str
    """The column of `pair_signals`."""
    about: str
    """What it is, for the caption of one heatmap."""
    about_methods: str
    """The same for the caption of one a method."""
    scale: Callable[[NDArray[np.float64]], Scale]
    """The scale of all values."""
    note: str = ""
    """What its colours mean."""
    directed: bool = True
    """Whether it differs between new-old and old-new."""

    def means(self, frame: pl.DataFrame, tasks: Sequence[str]) -> pl.DataFrame:
        """Means over runs, one row a pair of tasks."""
        return task_means(frame, self.value, tasks=None if self.directed else tasks)


CONFLICT = TaskMap(
    "mean_conflict",
    "Geometry conflict of two tasks' updates, mean over layers",
    "Mean geometry conflict of the two tasks' updates over layers and runs",
    lambda values: share_scale(values, "Geometry conflict"),
    directed=False,
)
CHANGE = TaskMap(
    "drop",
    "Change of the old task's score in the step that trained the new task",
    "Mean change of the old task's score in the step that trained the new task",
    lambda values: centred_scale(values, "Score change (fraction)"),
    note="; red: lost",
)


@figure("Conflict of tasks", tables=("pair_signals",), needs=COMPARED)
def pair_conflict_heatmap(data: Data, *, run: str | None = None, ax: Axes | None = None) -> Axes:
    """Geometry conflict of every two tasks' updates, tasks in training order, averaged over runs.

    Args:
        data: a store, or rows of `pair_signals`.
        run: one run; the mean over all by default.
        ax: axes to draw in.

    Raises:
        NothingToDraw: no pair has a conflict.
    """
    return _draw_map(data, CONFLICT, run, ax)


@figure("Change of old tasks", tables=("pair_signals",), needs=SCORED)
def pair_change_heatmap(data: Data, *, run: str | None = None, ax: Axes | None = None) -> Axes:
    """Change of every old task's score while a new task was trained, averaged over runs.

    Args:
        data: a store, or rows of `pair_signals`.
        run: one run; the mean over all by default.
        ax: axes to draw in.

    Raises:
        NothingToDraw: no old task was scored at two steps in a row.
    """
    return _draw_map(data, CHANGE, run, ax)


def _draw_map(tables: Tables, spec: TaskMap, run: str | None, ax: Axes | None) -> Axes:
    """One heatmap of a run, or of the mean over all."""
    frame = pair_figure_rows(tables, spec.value, run)
    tasks = order_tasks(frame)
    means = spec.means(frame, tasks)
    matrix = task_cells(means, spec.value, tasks)
    ax = one_axes(ax, pair_size(matrix))
    draw_pairs(ax, matrix, spec.scale(matrix.values))
    finish(ax, x="Old task", y="New task", title=run or "")
    text = f"{spec.about}{'' if run else ' and runs'}{spec.note}; {EMPTY}"
    describe(ax, text, table="pair_signals", frame=frame, drawn=means)
    return ax


def pair_figure_rows(tables: Tables, value: str, run: str | None = None) -> pl.DataFrame:
    """Pair rows of one run or of all.

    Raises:
        NothingToDraw: none of them has the value.
    """
    frame = need(tables.get("pair_signals"), (*_KEY, value), name="rows")
    frame = frame if run is None else frame.filter(pl.col("run") == run)
    if not has_values(frame, value):
        raise NothingToDraw(f"no pair of tasks has a {value}", run=run)
    return frame


def task_cells(means: pl.DataFrame, value: str, tasks: Sequence[str]) -> Cells:
    """Means over runs as a matrix, new tasks down, old tasks across."""
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


@figure(
    "Alignment, conflict and harm",
    tables=("pair_signals", RIVALS, PAIRS_BY_METHOD, PAIRS_BY_SIZE, HARMFUL, SHARES, SHARES_BY_METHOD),
    needs=f"{COMPARED}, and scores",
)
def fig03_alignment_and_harm(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """From pairs of tasks to layers: alignment and conflict, what they say of harm, and where they sit."""
    harm = "Most harmful transitions"
    rows = [
        [
            Panel("Alignment, conflict and harm", regime_clouds(), width=1.5),
            Panel("Geometry against gradients", strength_bars(BEST_OF_BOTH, height=2.1, legend=True)),
        ],
        [
            Panel(label("gc_drop"), relation_bars("gc_drop")),
            Panel(label("gc_forget"), relation_bars("gc_forget")),
        ],
        [
            Panel(harm, harmful_bars(harm, with_geometry=False, most=8)),
            Panel("Top layers", top_layer_bars()),
        ],
        [
            Panel(label("top_geometry_conflict"), family_share_panel("top_geometry_conflict", bar=False)),
            Panel(label("top_negative_gradient"), family_share_panel("top_negative_gradient")),
        ],
    ]
    return compose(data, rows, axes)


@figure("Change of old tasks by method", tables=("pair_signals",), needs=SCORED)
def fig14_pair_change_by_method(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Change of every old task's score while a new task was trained, method by method, averaged over runs."""
    return _draw_maps(data, CHANGE, axes)


@figure("Conflict of tasks by method", tables=("pair_signals",), needs=COMPARED)
def fig15_pair_conflict_by_method(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Geometry conflict of every two tasks' updates, method by method, averaged over runs."""
    return _draw_maps(data, CONFLICT, axes)


def _draw_maps(tables: Tables, spec: TaskMap, axes: Iterable[Axes] | None) -> list[Axes]:
    """A heatmap for each method, all with one scale."""
    frame = pair_figure_rows(tables, spec.value)
    tasks = order_tasks(frame)
    rows = {method: frame.filter(pl.col("method") == method) for method in order_methods(frame["method"])}
    means = {method: spec.means(part, tasks) for method, part in rows.items()}
    shown = {method: task_cells(part, spec.value, tasks) for method, part in means.items()}
    scale = spec.scale(np.concatenate([matrix.values.ravel() for matrix in shown.values()]))
    across = 2 if len(tasks) <= 20 and len(shown) > 1 else 1
    panels = [
        Panel(method, _map_panel(rows[method], means[method], matrix, spec, scale, across=across))
        for method, matrix in shown.items()
    ]
    return compose(tables, rows_of(panels, across), axes, aligned=True)


def _map_panel(
    frame: pl.DataFrame, means: pl.DataFrame, matrix: Cells, spec: TaskMap, scale: Scale, *, across: int
) -> Prepare:
    def draw(ax: Axes) -> None:
        draw_pairs(ax, matrix, scale)
        finish(ax, x="Old task", y="New task")
        text = f"{frame['method'][0]}: {spec.about_methods}{spec.note}; {EMPTY}"
        describe(ax, text, table="pair_signals", frame=frame, drawn=means)

    height = pair_size(matrix, width=TWO_COLUMNS / across)[1]
    return lambda _: [Ready(draw, height)]


def relation_bars(relation: str) -> Prepare:
    """A correlation over pairs, for each method and then for each size."""

    def prepare(tables: Tables) -> list[Ready]:
        groups = [(by, tables.find(name)) for by, name in (("method", PAIRS_BY_METHOD), ("size", PAIRS_BY_SIZE))]
        parts = [
            _relation_rows(tables, frame, relation, by)
            for by, frame in groups
            if frame is not None and has_values(frame, relation)
        ]
        if not parts:
            raise NothingToDraw(f"neither {PAIRS_BY_METHOD} nor {PAIRS_BY_SIZE} has {label(relation)}")
        frame = pl.concat(parts, how="diagonal")
        return [_relation_ready(frame, relation, _group_styles(groups), tables)]

    return prepare


def _relation_rows(tables: Tables, frame: pl.DataFrame, relation: str, by: str) -> pl.DataFrame:
    rows = frame.select(by, "n", relation=pl.lit(relation), spearman=relation)
    return with_intervals(tables, rows, level="pair", by=by).rename({by: "group"})


def _relation_ready(frame: pl.DataFrame, relation: str, styles: dict[str, Series], tables: Tables) -> Ready:
    interval = ("ci_low", "ci_high") if is_bounded(frame) else None
    drawn = Estimates(frame, "group", "group", styles, interval=interval, dodge=False)

    def draw(ax: Axes) -> None:
        draw_bars(ax, drawn, turn=True)
        text = f"Rank correlation over pairs, {label(relation)}, by method and by size. {interval_note(frame, BOUNDED)}"
        n = observations(frame, "", each="method or size")
        describe(ax, text, table=f"{PAIRS_BY_METHOD}, {PAIRS_BY_SIZE}", frame=frame, n=n, runs=tables.runs)

    return Ready(draw, 1.9)


def _group_styles(frames: Sequence[tuple[str, pl.DataFrame | None]]) -> dict[str, Series]:
    """Methods in their colours, sizes dark to light."""
    groups = {by: unique(frame, by) for by, frame in frames if frame is not None}
    methods = {name: Series(name, color) for name, (color, _) in method_styles(groups.get("method", [])).items()}
    sizes = groups.get("size", [])
    return methods | {name: Series(name, c) for name, c in zip(sizes, ordered_colors(len(sizes)), strict=True)}
