"""Where in a block it happens: signals by projection family."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from geodiag.figures.captions import describe
from geodiag.figures.colors import Scale
from geodiag.figures.data import Data, NothingToDraw, as_tables, need
from geodiag.figures.heatmap import Cells, cells, colour_bar, draw_cells, heatmap_size
from geodiag.figures.labels import family_label, label, number, order_families
from geodiag.figures.layout import finish, one_axes
from geodiag.figures.lines import has_values
from geodiag.figures.theme import ONE_COLUMN, themed

FAMILY_COLUMNS = (
    "active_sar",
    "active_conflict",
    "state_conflict",
    "state_gap",
    "mean_grad_cos",
    "neg_grad_ratio",
    "update_norm",
)
"""The signals of `family_heatmap` unless others are named."""


@themed
def family_heatmap(
    data: Data,
    *,
    signals: Sequence[str] = FAMILY_COLUMNS,
    run: str | None = None,
    step: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Mean of signals by projection family, over the runs and steps asked for.

    Signals differ in unit and range, so each column has colours of its own, from its lowest to its highest
    family; the numbers are in the cells.

    Args:
        data: a store, or rows of `family_signals`.
        signals: columns, from the left; those without any value are left out.
        run: one run; all by default.
        step: one step; all by default.
        ax: axes to draw in.

    Raises:
        NothingToDraw: none of these has a value.
    """
    frame = need(as_tables(data, name="family_signals").get("family_signals"), ("run", "step", "family"), name="rows")
    frame = frame.filter(*([pl.col("run") == run] if run else []), *([pl.col("step") == step] if step else []))
    names = [name for name in signals if has_values(frame, name)]
    if not names:
        raise NothingToDraw(f"no family has a value of {', '.join(signals)}", run=run, step=step)
    matrix = _means(frame, names)
    ax = one_axes(ax, heatmap_size(len(matrix.rows), len(names), cell=0.26, labels=14, width=ONE_COLUMN))
    _draw_columns(ax, matrix)
    finish(ax, y="Projection family")
    said = (
        f"Mean by projection family over {_scope(run, step)}; colours run from a column's lowest to its highest family"
    )
    describe(ax, said, table="family_signals", frame=frame, shows=names)
    return ax


def _means(frame: pl.DataFrame, names: Sequence[str]) -> Cells:
    means = frame.group_by("family").agg(pl.col(name).mean() for name in names)
    tidy = means.unpivot(on=list(names), index="family", variable_name="signal")
    families = order_families(frame["family"])
    return cells(tidy, rows="family", columns="signal", value="value", row_order=families, column_order=names)


def _draw_columns(ax: Axes, matrix: Cells) -> None:
    low, high = np.nanmin(matrix.values, axis=0), np.nanmax(matrix.values, axis=0)
    place = np.where(np.isnan(matrix.values), np.nan, 0.5)
    varied = high > low
    place[:, varied] = ((matrix.values - low) / np.where(varied, high - low, 1.0))[:, varied]
    texts = np.array([[number(value) for value in row] for row in matrix.values], dtype=object)
    coloured = Cells(matrix.rows, matrix.columns, place, matrix.asked)
    scale = Scale("viridis", 0.0, 1.0, "Within the column")
    names = [label(name) for name in matrix.columns]
    mesh = draw_cells(
        ax,
        coloured,
        scale,
        row_labels=[family_label(f) for f in matrix.rows],
        column_labels=names,
        texts=texts,
        bar=False,
        turn=True,
    )
    colour_bar(ax, mesh, scale, ticks={0.0: "lowest", 1.0: "highest"})


def _scope(run: str | None, step: int | None) -> str:
    which = f"run {run}" if run else "all runs"
    return f"{which} at step {step}" if step else f"{which} and steps"
