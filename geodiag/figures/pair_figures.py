"""Figures of pairs of tasks across methods and sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from geodiag.figures.bars import draw_bars
from geodiag.figures.captions import describe
from geodiag.figures.colors import Scale, centred_scale, method_styles, ordered_colors, share_scale
from geodiag.figures.correlations import observations, unique
from geodiag.figures.data import Data, NothingToDraw, Tables, as_tables, need
from geodiag.figures.family_parts import locus_bars, share_map
from geodiag.figures.forest import Series
from geodiag.figures.heatmap import Cells
from geodiag.figures.labels import RHO, label, order_tasks
from geodiag.figures.layout import finish
from geodiag.figures.lines import has_values
from geodiag.figures.outcomes import harmful_bars
from geodiag.figures.pairs import draw_pairs, ordered, pair_rows, pair_size, task_cells
from geodiag.figures.panels import Panel, Prepare, Ready, compose
from geodiag.figures.relations import target_bars
from geodiag.figures.scatter import regime_cloud
from geodiag.figures.theme import TWO_COLUMNS, themed
from geodiag.tables.orders import order_methods

BY_METHOD, BY_SIZE = "table13_pairwise_by_method", "table14_pairwise_by_scale"


@themed
def fig03_alignment_and_harm(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """From pairs of tasks to layers: alignment and conflict, what they say of harm, and where they sit."""
    rows = [
        [Panel("Alignment, conflict and harm", regime_cloud()), Panel("Geometry against gradients", target_bars())],
        [
            Panel(label("gc_drop"), relation_bars("gc_drop")),
            Panel(label("gc_forget"), relation_bars("gc_forget")),
        ],
        [Panel("Most harmful transitions", harmful_bars(with_geometry=False, most=8)), Panel("Top layers", locus_bars())],
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
    maps = task_maps("drop", about=about, scale=lambda values: centred_scale(values, "Score change (fraction)"))
    return compose(as_tables(data, name="pair_signals"), [[Panel("", maps)]], axes)


@themed
def fig15_pair_conflict_by_method(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Geometry conflict of every two tasks' updates, method by method, averaged over runs."""
    about = "Mean geometry conflict of the two tasks' updates over layers and runs"
    maps = task_maps("mean_conflict", about=about, scale=lambda _: share_scale("Geometry conflict"), directed=False)
    return compose(as_tables(data, name="pair_signals"), [[Panel("", maps)]], axes)


def relation_bars(relation: str) -> Prepare:
    """A correlation over pairs, for each method and then for each size."""

    def prepare(tables: Tables) -> list[Ready]:
        found = [(by, tables.find(name)) for by, name in (("method", BY_METHOD), ("size", BY_SIZE))]
        parts = [
            frame.select(pl.col(by).alias("group"), relation, "n")
            for by, frame in found
            if frame is not None and has_values(frame, relation)
        ]
        if not parts:
            raise NothingToDraw(f"neither {BY_METHOD} nor {BY_SIZE} has {label(relation)}")
        frame = pl.concat(parts)
        return [_relation_ready(frame, relation, _group_styles(found), tables)]

    return prepare


def task_maps(
    value: str, *, about: str, scale: Callable[[np.ndarray], Scale], directed: bool = True
) -> Prepare:
    """Task by task heatmaps, one a method, with one scale."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = pair_rows(tables, value)
        tasks, methods = order_tasks(frame), order_methods(frame["method"])
        parts = {method: frame.filter(pl.col("method") == method) for method in methods}
        shown = {m: task_cells(part if directed else ordered(part, tasks), value, tasks) for m, part in parts.items()}
        common = scale(np.concatenate([matrix.values.ravel() for matrix in shown.values()]))
        return [_map_ready(m, parts[m], shown[m], common, about, last=m == methods[-1], first=m == methods[0]) for m in methods]

    return prepare
