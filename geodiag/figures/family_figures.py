"""Figures by projection family and block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from geodiag.errors import SettingsError
from geodiag.figures.axes import finish, has_values, one_axes
from geodiag.figures.captions import describe
from geodiag.figures.colors import Scale, centred_scale, share_scale, span_scale
from geodiag.figures.data import Data, NothingToDraw, as_tables, need
from geodiag.figures.family_panels import PROFILE, SHARES_BY_METHOD, family_share_panel, profile_bars
from geodiag.figures.heatmap import Cells, cells, colour_bar, draw_cells, heatmap_size
from geodiag.figures.labels import axis_label, axis_number, family_label, label, order_families
from geodiag.figures.panels import Panel, Prepare, Ready, compose
from geodiag.figures.theme import ONE_COLUMN, TWO_COLUMNS, themed
from geodiag.signals import FAMILY_SIGNALS
from geodiag.tables.options import order_sizes

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
    texts = np.array([[axis_number(value) for value in row] for row in matrix.values], dtype=object)
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


BLOCKS = 40
"""Blocks that two columns' width has room for."""


@themed
def fig17_family_profile(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Alignment, conflict and gradients of each projection family."""
    return compose(as_tables(data, name=PROFILE), [[Panel("Profile", profile_bars())]], axes)


@themed
def fig18_top_layers_by_method(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Which families the layers that stand out belong to, method by method."""
    row = [
        Panel("Most geometry conflict", family_share_panel("top_geometry_conflict", bar=False)),
        Panel("Most negative gradient", family_share_panel("top_negative_gradient")),
    ]
    return compose(as_tables(data, name=SHARES_BY_METHOD), [row], axes)


@themed
def depth_profile(
    data: Data,
    *,
    signal: str = "active_conflict",
    run: str | None = None,
    step: int | None = None,
    axes: Iterable[Axes] | None = None,
) -> list[Axes]:
    """A signal of every layer: blocks across, families down, one axes a model size, averaged over runs and steps.

    Args:
        data: a store, or rows of `layer_signals`.
        signal: which, a name of `geodiag.signals.FAMILY_SIGNALS`.
        run: one run; all by default.
        step: one step; all by default.
        axes: axes to draw in, one a size.

    Raises:
        NothingToDraw: no layer has a value of it.
        SettingsError: there is no such signal.
    """
    known = [s.name for s in FAMILY_SIGNALS]
    if signal not in known:
        raise SettingsError(f"no layer signal {signal!r}", fix=f"one of: {', '.join(known)}")
    tables = as_tables(data, name="layer_signals")
    columns = ("run", "size", "step", "block", "family", signal)
    frame = need(tables.get("layer_signals"), columns, name="layer_signals")
    frame = frame.filter(*([pl.col("run") == run] if run else []), *([pl.col("step") == step] if step else []))
    if not has_values(frame, signal):
        raise NothingToDraw(f"no layer has a value of {signal}", run=run, step=step)
    shown = {size: _block_cells(frame.filter(pl.col("size") == size), signal) for size in order_sizes(frame["size"])}
    scale = _scale(signal, np.concatenate([matrix.values.ravel() for matrix in shown.values()]))
    across = _across(list(shown.values()))
    panels = [
        Panel(size, _profile(frame.filter(pl.col("size") == size), matrix, signal, scale, first=k % across == 0))
        for k, (size, matrix) in enumerate(shown.items())
    ]
    rows = [panels[k : k + across] for k in range(0, len(panels), across)]
    narrow = across <= 2 and across * _deepest(list(shown.values())) <= BLOCKS // 2
    found = compose(tables, rows, axes, width=ONE_COLUMN if narrow else TWO_COLUMNS, aligned=True)
    (mesh,) = (c for c in found[-1].collections if isinstance(c, QuadMesh))
    colour_bar(found, mesh, scale)
    return found


def _deepest(matrices: Sequence[Cells]) -> int:
    return max(len(matrix.columns) for matrix in matrices)


def _across(matrices: Sequence[Cells]) -> int:
    """How many sizes stand side by side, so that a block still has room for its number."""
    return max(1, min(len(matrices), BLOCKS // max(_deepest(matrices), 8)))


def _block_cells(frame: pl.DataFrame, signal: str) -> Cells:
    means = frame.group_by("block", "family").agg(pl.col(signal).mean())
    blocks = [str(block) for block in range(int(str(frame["block"].max())) + 1)]
    order = {"row_order": order_families(frame["family"]), "column_order": blocks}
    named = means.with_columns(pl.col("block").cast(pl.String))
    return cells(named, rows="family", columns="block", value=signal, **order)


def _profile(frame: pl.DataFrame, matrix: Cells, signal: str, scale: Scale, *, first: bool) -> Prepare:
    every = max(1, -(-len(matrix.columns) // 20))
    names = [block if k % every == 0 else "" for k, block in enumerate(matrix.columns)]

    def draw(ax: Axes) -> None:
        rows = [family_label(family) if first else "" for family in matrix.rows]
        draw_cells(ax, matrix, scale, row_labels=rows, column_labels=names, digits=None, bar=False, turn=False)
        finish(ax, x="Block", y="Family" if first else "")
        text = f"{label(signal)} of each layer of {frame['size'][0]}, mean over steps and runs; blank: no such layer"
        describe(ax, text, table="layer_signals", frame=frame, shows=[signal])

    return lambda _: [Ready(draw, 0.6 + 0.16 * max(len(matrix.rows), 5))]


def _scale(signal: str, values: np.ndarray) -> Scale:
    found = next(s for s in FAMILY_SIGNALS if s.name == signal)
    title = axis_label(signal)
    if found.low < 0:
        return centred_scale(values, title, cmap="RdBu_r")
    return share_scale(values, title) if found.high <= 1 else span_scale(values, title)
