"""Figures of pairs of tasks across methods and sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from numpy.typing import NDArray

from geodiag.figures.bars import draw_bars
from geodiag.figures.captions import describe
from geodiag.figures.colors import Scale, centred_scale, method_styles, ordered_colors, share_scale
from geodiag.figures.correlation_maps import interval_note, is_bounded
from geodiag.figures.correlations import BOUNDED, observations, unique
from geodiag.figures.data import Data, NothingToDraw, Tables, as_tables
from geodiag.figures.family_parts import locus_bars, share_map
from geodiag.figures.forest import Series
from geodiag.figures.heatmap import Cells
from geodiag.figures.joined import with_intervals
from geodiag.figures.labels import RHO, label, order_tasks
from geodiag.figures.layout import finish
from geodiag.figures.lines import has_values
from geodiag.figures.outcomes import harmful_bars
from geodiag.figures.pairs import EMPTY, draw_pairs, ordered, pair_rows, pair_size, task_cells
from geodiag.figures.panels import Panel, Prepare, Ready, compose
from geodiag.figures.relations import target_bars
from geodiag.figures.scatter import regime_clouds
from geodiag.figures.theme import TWO_COLUMNS, themed
from geodiag.tables.orders import order_methods

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
            Panel("Most geometry conflict", share_map("top_geometry_conflict", bar=False)),
            Panel("Most negative gradient", share_map("top_negative_gradient")),
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
    frame = pair_rows(tables, spec.value)
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
