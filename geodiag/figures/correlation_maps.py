"""Panels of correlations as heatmaps: signals or relations across sizes, methods and outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from numpy.typing import NDArray

from geodiag.figures.baseline import with_step
from geodiag.figures.captions import describe
from geodiag.figures.colors import correlation_scale, strength_scale
from geodiag.figures.correlations import observations, strengths, unique, wrapped
from geodiag.figures.data import NothingToDraw, Tables, need
from geodiag.figures.heatmap import Cells, cells, draw_cells
from geodiag.figures.labels import label, number
from geodiag.figures.panels import Prepare, Ready

BOUNDS = "Second lines: 95 % intervals from resampling whole runs"
NO_BOUNDS = "This table has no intervals"


@dataclass(frozen=True)
class Map:
    """A heatmap of correlations: which tidy rows, and what is down and across."""

    table: str
    """The table it is drawn from."""
    down: str
    """The column that names its rows."""
    across: str
    """The column that names its columns."""
    about: str
    """What it shows, for the caption."""
    level: str = "step"
    """Whether correlations are over all steps ("step") or pairs ("pair"); empty where over neither."""
    strength: bool = False
    """Whether correlations are shown without their sign."""
    baseline: bool = False
    """Whether the step index joins the signals, over all runs."""
    wide: tuple[str, ...] = ()
    """The columns to turn into rows, where the table has one for each of `across`."""


def correlation_map(spec: Map) -> Prepare:
    """One heatmap of correlations."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = tidy(spec, tables.get(spec.table))
        frame = with_step(tables, frame) if spec.baseline else frame
        return [map_ready(spec, frame, tables)]

    return prepare


def correlation_maps(spec: Map, *, by: str) -> Prepare:
    """One heatmap of correlations for each value of a column, side by side; the last has the colour bar."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = tidy(spec, need(tables.get(spec.table), (by,), name=spec.table))
        names = unique(frame, by)
        many = len(names) > 2
        return [
            map_ready(
                *(spec, frame.filter(pl.col(by) == name), tables),
                title=name,
                bar=name == names[-1],
                names=name == names[0],
                narrow=many,
            )
            for name in names
        ]

    return prepare


def tidy(spec: Map, frame: pl.DataFrame) -> pl.DataFrame:
    """The table with one row a correlation, in a column `spearman`.

    Raises:
        NothingToDraw: no correlation is defined.
    """
    if spec.wide:
        names = [name for name in spec.wide if name in frame.columns]
        index = [name for name in frame.columns if name not in spec.wide]
        frame = frame.unpivot(on=names, index=index, variable_name=spec.across, value_name="spearman")
    need(frame, (spec.down, spec.across, "spearman"), name=spec.table)
    if frame["spearman"].drop_nulls().is_empty():
        raise NothingToDraw(
            f"no correlation of {spec.table} is defined", fix="it takes runs of more steps, or more runs"
        )
    return frame


def map_ready(
    spec: Map,
    frame: pl.DataFrame,
    tables: Tables,
    *,
    title: str = "",
    bar: bool = True,
    names: bool = True,
    narrow: bool = False,
) -> Ready:
    """A heatmap of correlations, ready to be drawn.

    Args:
        spec: what it shows.
        frame: its tidy rows.
        tables: where they are from.
        title: its title.
        bar: whether it has a colour bar.
        names: whether its rows are labelled.
        narrow: whether there is little room, so that column labels stand upright.
    """
    down, across = unique(frame, spec.down), unique(frame, spec.across)
    bounded = "ci_low" in frame.columns and frame["ci_low"].count() > 0
    shown = strengths(frame) if spec.strength else frame
    order = {"row_order": down, "column_order": across}
    matrix = cells(shown, rows=spec.down, columns=spec.across, value="spearman", **order)
    scale = strength_scale() if spec.strength else correlation_scale()

    def draw(ax: Axes) -> None:
        texts = _texts(shown, spec, matrix) if bounded else None
        row_labels = [label(n) if names else "" for n in down]
        column_labels = [label(n) if narrow else wrapped(n) for n in across]
        turn = True if narrow else None
        draw_cells(
            *(ax, matrix, scale), row_labels=row_labels, column_labels=column_labels, texts=texts, bar=bar, turn=turn
        )
        ax.set_title(title)
        text = f"{title}: {spec.about}" if title else spec.about
        counted = tables.count(spec.level) if spec.level else ""
        n = observations(frame, counted, each=spec.down if "n" in frame.columns else "")
        said = f"{text}. {BOUNDS if bounded else NO_BOUNDS}" + (
            "; hatched: undefined" if matrix.undefined.any() else ""
        )
        describe(
            ax,
            said,
            table=spec.table,
            frame=frame,
            n=n,
            runs=tables.runs if spec.level else None,
            shows=(*down, *across),
        )

    return Ready(draw, (1.2 if narrow else 0.95) + (0.28 if bounded else 0.22) * len(down))


def _texts(frame: pl.DataFrame, spec: Map, matrix: Cells) -> NDArray[np.object_]:
    """Values with their intervals below."""
    texts = np.full(matrix.values.shape, "", dtype=object)
    for row in frame.iter_rows(named=True):
        at = matrix.rows.index(row[spec.down]), matrix.columns.index(row[spec.across])
        ends = f"\n[{number(row['ci_low'])}, {number(row['ci_high'])}]" if row["ci_low"] is not None else ""
        texts[at] = number(row["spearman"]) + ends
    return texts


STEP_SIGNALS = ("update_norm", "active_conflict", "state_gap", "global_gap", "neg_grad_ratio", "min_grad_cos", "step")
"""Columns that hold signals' correlations in tables with a row a method or size."""
RELATIONS = ("sar_gc", "sar_drop", "gc_drop", "gc_forget")
"""Columns that hold pairs' correlations in tables with a row a method or size."""
