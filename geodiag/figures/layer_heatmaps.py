"""Heatmaps by block and projection family: means of signals, layers in depth, and the change of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from geodiag.errors import SettingsError
from geodiag.figures.axes import finish, has_values, one_axes
from geodiag.figures.captions import axis_label, axis_number, describe, family_label, order_families
from geodiag.figures.colors import Scale, centred_scale, round_up, share_scale, span_scale
from geodiag.figures.data import Data, NothingToDraw, need
from geodiag.figures.heatmap import Cells, cells, colour_bar, draw_cells, heatmap_size
from geodiag.figures.panels import Panel, Prepare, Ready, compose, rows_of
from geodiag.figures.registry import figure
from geodiag.figures.theme import ONE_COLUMN, TWO_COLUMNS, theme
from geodiag.signals import FAMILY_SIGNALS
from geodiag.signals.catalog import label
from geodiag.tables.layers import block_means, family_means
from geodiag.tables.options import order_sizes

__all__ = ["depth_profile", "family_heatmap"]

BLOCKS = 40
"""Blocks that two columns' width has room for."""
_LAYER_SIGNALS = {entry.name: entry for entry in FAMILY_SIGNALS}
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


@figure("Conflict by block and family", tables=("layer_signals",))
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
    if signal not in _LAYER_SIGNALS:
        raise SettingsError(f"no layer signal {signal!r}", fix=f"one of: {', '.join(_LAYER_SIGNALS)}")
    columns = ("run", "size", "step", "block", "family", signal)
    frame = need(data.get("layer_signals"), columns, name="layer_signals")
    frame = frame.filter(*([pl.col("run") == run] if run else []), *([pl.col("step") == step] if step else []))
    if not has_values(frame, signal):
        raise NothingToDraw(f"no layer has a value of {signal}", run=run, step=step)
    means = block_means(frame, signal)
    sizes, deepest, scale = order_sizes(frame["size"]), _blocks(means), _scale(signal, means[signal].to_numpy())
    # As many sizes side by side as leave a block room for its number.
    across = max(1, min(len(sizes), BLOCKS // max(deepest, 8)))
    panels = []
    for k, size in enumerate(sizes):
        rows, of_size = frame.filter(pl.col("size") == size), means.filter(pl.col("size") == size)
        panels.append(Panel(size, _profile(rows, of_size, signal, scale, first=k % across == 0)))
    narrow = across <= 2 and across * deepest <= BLOCKS // 2
    drawn = compose(data, rows_of(panels, across), axes, width=ONE_COLUMN if narrow else TWO_COLUMNS, aligned=True)
    (mesh,) = drawn[-1].findobj(QuadMesh)
    colour_bar(drawn, mesh, scale)
    return drawn


def _blocks(means: pl.DataFrame) -> int:
    return int(str(means["block"].max())) + 1


def _profile(rows: pl.DataFrame, means: pl.DataFrame, signal: str, scale: Scale, *, first: bool) -> Prepare:
    """The axes of one size: the layers' rows of it, and their means by block and family."""
    blocks, families = [str(block) for block in range(_blocks(means))], order_families(means["family"])
    named = means.with_columns(pl.col("block").cast(pl.String))
    matrix = cells(named, rows="family", columns="block", value=signal, row_order=families, column_order=blocks)
    numbers, every = [""] * len(blocks), max(1, -(-len(blocks) // 20))
    numbers[::every] = blocks[::every]
    labels = [family_label(family) if first else "" for family in families]

    def draw(ax: Axes) -> None:
        draw_cells(ax, matrix, scale, row_labels=labels, column_labels=numbers, digits=None, bar=False, turn=False)
        finish(ax, x="Block", y="Family" if first else "")
        text = f"{label(signal)} of each layer of {means['size'][0]}, mean over steps and runs; blank: no such layer"
        describe(ax, text, table="layer_signals", frame=rows, drawn=means, shows=[signal])

    return lambda _: [Ready(draw, 0.6 + 0.16 * max(len(families), 5))]


def _scale(signal: str, values: np.ndarray) -> Scale:
    entry, title = _LAYER_SIGNALS[signal], axis_label(signal)
    if entry.low < 0:
        return centred_scale(values, title, cmap="RdBu_r")
    return share_scale(values, title) if entry.high <= 1 else span_scale(values, title)


@figure("Signals by projection family", tables=("family_signals",))
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
    frame = need(data.get("family_signals"), ("run", "step", "family"), name="rows")
    frame = frame.filter(*([pl.col("run") == run] if run else []), *([pl.col("step") == step] if step else []))
    names = [name for name in signals if has_values(frame, name)]
    if not names:
        raise NothingToDraw(f"no family has a value of {', '.join(signals)}", run=run, step=step)
    means = family_means(frame, names)
    families = order_families(frame["family"])
    matrix = cells(means, rows="family", columns="signal", value="value", row_order=families, column_order=names)
    ax = one_axes(ax, heatmap_size(len(matrix.rows), len(names), cell=0.26, labels=14, width=ONE_COLUMN))
    _draw_columns(ax, matrix)
    finish(ax, y="Projection family")
    text = (
        f"Mean by projection family over {_scope(run, step)}; colours run from a column's lowest to its highest family"
    )
    describe(ax, text, table="family_signals", frame=frame, drawn=means, shows=names)
    return ax


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


def change_heatmap(frame: pl.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The relative norm of the change, ||D||_F / ||W||_F, by block and family.

    Args:
        frame: one row a (block, family), with a column `relative_norm`; null is drawn as not defined.
        ax: axes to draw in.
    """
    with theme():
        families, blocks = order_families(frame["family"]), [str(b) for b in sorted(frame["block"].unique().to_list())]
        named = frame.with_columns(pl.col("block").cast(pl.String))
        order = {"row_order": blocks, "column_order": families}
        matrix = cells(named, rows="block", columns="family", value="relative_norm", **order)
        largest = float(np.nanmax(matrix.values, initial=0.0))
        scale = Scale("viridis", 0.0, round_up(largest) if largest > 0 else 1.0, "Relative norm ‖ΔW‖ / ‖W‖")
        ax = one_axes(ax, heatmap_size(len(blocks), len(families), cell=0.16, labels=10, width=ONE_COLUMN))
        draw_cells(ax, matrix, scale, column_labels=[family_label(family) for family in families], digits=None)
        return finish(ax, x="Projection family", y="Block")
