"""Panels of correlations as heatmaps: signals or relations across sizes, methods and outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from numpy.typing import NDArray

from geodiag.figures.captions import RHO, STRENGTH, axis_number, describe
from geodiag.figures.colors import Scale, correlation_scale, strength_scale
from geodiag.figures.correlation_panels import observations, strengths, wrapped
from geodiag.figures.data import NothingToDraw, Tables, need, unique, with_baseline, with_intervals
from geodiag.figures.heatmap import LEAST_BAR, Cells, cells, draw_cells
from geodiag.figures.panels import Prepare, Ready
from geodiag.signals.catalog import label

BOUNDS = "Second lines: 95 % intervals from resampling whole runs"
NO_BOUNDS = "This table has no intervals"


@dataclass(frozen=True)
class CorrelationMap:
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
    by: str = ""
    """The grouping under which `intervals` has their intervals; empty where the table has its own."""
    target: str = ""
    """The outcome, where all correlations are with one."""
    baseline: bool = False
    """Whether the step index joins the signals, from the same rows of `intervals`."""
    wide: tuple[str, ...] = ()
    """The columns to turn into rows, where the table has one for each of `across`."""


def correlation_map(spec: CorrelationMap, *, bar: bool = True) -> Prepare:
    """One heatmap of correlations."""
    return lambda tables: [map_ready(spec, correlation_rows(spec, tables), tables, bar=bar)]


def correlation_rows(spec: CorrelationMap, tables: Tables) -> pl.DataFrame:
    """The rows of a heatmap, with the step index and intervals as far as the data has them."""
    frame = tidy(spec, tables.get(spec.table))
    if not spec.by:
        return frame
    frame = with_baseline(tables, frame, by=spec.by, target=spec.target) if spec.baseline else frame
    level = "pair" if spec.level == "pair" else "step"
    return with_intervals(tables, frame, level=level, by=spec.by, target=spec.target)


def tidy(spec: CorrelationMap, frame: pl.DataFrame) -> pl.DataFrame:
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
    spec: CorrelationMap, frame: pl.DataFrame, tables: Tables, *, title: str = "", bar: bool = True, names: bool = True
) -> Ready:
    """A heatmap of correlations, ready to be drawn.

    Args:
        spec: the heatmap.
        frame: its tidy rows.
        tables: the data that they are from.
        title: its title.
        bar: whether it has a colour bar.
        names: whether its rows are labelled.
    """
    down, across = unique(frame, spec.down), unique(frame, spec.across)
    shown = strengths(frame) if spec.strength else frame
    order = {"row_order": down, "column_order": across}
    matrix = cells(shown, rows=spec.down, columns=spec.across, value="spearman", **order)

    def draw(ax: Axes) -> None:
        row_labels, column_labels = [label(n) if names else "" for n in down], [wrapped(n) for n in across]
        below = _bounds(shown, spec, matrix) if is_bounded(frame) else None
        draw_cells(
            *(ax, matrix, _scale(spec)),
            row_labels=row_labels,
            column_labels=column_labels,
            below=below,
            bar=bar,
            turn=False,
        )
        ax.set_title(title)
        text = f"{title}: {spec.about}" if title else spec.about
        text = f"{text}. {interval_note(frame, BOUNDS)}" + ("; hatched: undefined" if matrix.undefined.any() else "")
        count = tables.count(spec.level) if spec.level else ""
        n = observations(frame, count, each=spec.down if "n" in frame.columns else "")
        runs = tables.runs if spec.level else None
        describe(ax, text, table=spec.table, frame=frame, n=n, runs=runs, shows=(*down, *across))

    # However few rows there are, the colour bar needs room for its label.
    return Ready(draw, 0.4 + max(0.55 + (0.28 if is_bounded(frame) else 0.22) * len(down), LEAST_BAR))


def is_bounded(frame: pl.DataFrame) -> bool:
    """Whether any correlation has an interval."""
    return "ci_low" in frame.columns and frame["ci_low"].count() > 0


def interval_note(frame: pl.DataFrame, bounds: str) -> str:
    """The caption's sentence on intervals: how they are drawn, or why there are none."""
    estimated = frame.filter(pl.col("spearman").is_not_null())
    if is_bounded(frame):
        return f"{bounds}; where there is none, runs are too few" if estimated["ci_low"].null_count() else bounds
    reasons = estimated["note"].drop_nulls().to_list() if "note" in frame.columns else []
    return f"No intervals: {reasons[0]}" if reasons else NO_BOUNDS


def _scale(spec: CorrelationMap) -> Scale:
    name = STRENGTH if spec.strength else RHO
    text = f"{name}\nwith {label(spec.target).lower()}" if spec.target else name
    return strength_scale(text) if spec.strength else correlation_scale(text)


def _bounds(frame: pl.DataFrame, spec: CorrelationMap, matrix: Cells) -> NDArray[np.object_]:
    """The intervals as text, empty where there is none."""
    texts = np.full(matrix.values.shape, "", dtype=object)
    for row in frame.filter(pl.col("ci_low").is_not_null()).iter_rows(named=True):
        at = matrix.rows.index(row[spec.down]), matrix.columns.index(row[spec.across])
        texts[at] = f"[{axis_number(row['ci_low'])}, {axis_number(row['ci_high'])}]"
    return texts
