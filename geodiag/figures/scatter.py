"""Scatter plots: a point for each step of a run, or each pair of a new and an old task."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from geodiag.figures.axes import finish, values, zero_line
from geodiag.figures.captions import axis_label, describe
from geodiag.figures.colors import BENEFIT, EMPHASIS, NEUTRAL, UNCHANGED, method_styles
from geodiag.figures.data import Data, NothingToDraw, Tables, need
from geodiag.figures.panels import Panel, Prepare, Ready, compose
from geodiag.figures.registry import COMPARED, SCORED, figure
from geodiag.signals.catalog import CORE_SIGNALS, label
from geodiag.tables.layers import HARM, labelled_values, pair_regimes
from geodiag.tables.options import order_methods

__all__ = ["fig06_signals_and_forgetting", "fig07_alignment_conflict_change"]

SEVERAL, SHARED = "several methods", (UNCHANGED, "o")
"""Points at which those of several methods coincide: their label, colour and marker."""
REGIMES = {"harmed": (EMPHASIS, "v"), "unchanged": (UNCHANGED, "o"), "helped": (BENEFIT, "^")}
"""Regimes of `pair_regimes`, with the colour and marker of their pairs."""


@dataclass(frozen=True)
class PointCloud:
    """One scatter plot."""

    table: str
    """The table of its points."""
    x: str
    """The column across."""
    y: str
    """The column up."""
    about: str
    """What a point is, for the caption."""


@figure("Signals against forgetting", tables=("step_signals",), needs=SCORED)
def fig06_signals_and_forgetting(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Four signals of every step against its forgetting, coloured by method."""
    clouds = [PointCloud("step_signals", name, "forgetting", "Each point is a step of a run") for name in CORE_SIGNALS]
    rows = [[Panel(label(cloud.x), method_cloud(cloud)) for cloud in pair] for pair in (clouds[:2], clouds[2:])]
    return compose(data, rows, axes, legend=True)


@figure("Alignment, conflict and old-task change", tables=("pair_signals",), needs=f"{COMPARED}, and scores")
def fig07_alignment_conflict_change(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Pairs of tasks: alignment against conflict, and conflict against the old task's change, by method."""
    about = "Each point is a new and an old task at a step of a run"
    titles = "Alignment and conflict", "Conflict and old-task change"
    clouds = [
        PointCloud("pair_signals", "mean_sar", "mean_conflict", about),
        PointCloud("pair_signals", "mean_conflict", "drop", about),
    ]
    row = [Panel(title, method_cloud(cloud)) for title, cloud in zip(titles, clouds, strict=True)]
    return compose(data, [row], axes, legend=True)


def method_cloud(cloud: PointCloud) -> Prepare:
    """Points coloured by method."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = points(tables, cloud, "method")
        rows = labelled_values(frame, (cloud.x, cloud.y))
        styles = method_styles(order_methods(frame["method"]))
        shared = pl.col("method").n_unique().over(cloud.x, cloud.y) > 1
        drawn = frame.with_columns(method=pl.when(shared).then(pl.lit(SEVERAL)).otherwise("method"))
        present = {SEVERAL: SHARED, **styles} if SEVERAL in drawn["method"] else styles

        def draw(ax: Axes) -> None:
            for method, (color, marker) in present.items():
                part = drawn.filter(pl.col("method") == method)
                _draw_points(ax, part, cloud, color=color, marker=marker, name=method)
            _finish(ax, cloud)
            shows = (cloud.x, cloud.y)
            grey = "; dark grey: points at which those of several methods coincide" if present is not styles else ""
            text = f"{cloud.about}; colour: method, later ones on top{grey}"
            describe(ax, text, table=cloud.table, frame=rows, shows=shows)

        return [Ready(draw, 2.1)]

    return prepare


def regime_clouds() -> Prepare:
    """Pairs of tasks by percentile of alignment and by conflict, an axes for each regime."""

    def prepare(tables: Tables) -> list[Ready]:
        about = "Each point is a new and an old task at a step of a run"
        frame = pair_regimes(points(tables, PointCloud("pair_signals", "mean_sar", "mean_conflict", about), "drop"))
        return [_regime_ready(frame, regime, about) for regime in REGIMES]

    return prepare


def _regime_ready(frame: pl.DataFrame, regime: str, about: str) -> Ready:
    cloud = PointCloud("pair_signals", "percentile", "mean_conflict", about)
    part, (color, marker) = frame.filter(pl.col("regime") == regime), REGIMES[regime]

    def draw(ax: Axes) -> None:
        # Grey points below are those of every pair: the same cloud, and the same axes, in all three.
        _draw_points(ax, frame, cloud, color=NEUTRAL, marker="o", name="all pairs")
        _draw_points(ax, part, cloud, color=color, marker=marker, name=f"old task {regime}")
        ax.set_xlim(0, 100)
        ax.set_xticks([0, 50, 100])
        first = regime == next(iter(REGIMES))
        title = f"Old task\n{regime} ({100 * part.height / frame.height:.0f} %)"
        finish(ax, x="SAR percentile", y=axis_label("mean_conflict") if first else "", title=title)
        ax.tick_params(labelleft=first)
        text = (
            f"{about}; coloured: pairs whose old task was {regime} at the step, {part.height} of {frame.height}; "
            f"harmed and helped: its score fell or rose by {HARM:g} or more; grey: all pairs"
        )
        drawn = labelled_values(part, ("mean_sar", "percentile", "mean_conflict", "drop", "regime"))
        describe(ax, text, table="pair_signals", frame=frame, drawn=drawn)

    return Ready(draw, 2.1)


def points(tables: Tables, cloud: PointCloud, *others: str) -> pl.DataFrame:
    """The rows that have both values, and the other columns.

    Raises:
        NothingToDraw: none has.
    """
    frame = need(tables.get(cloud.table), ("run", cloud.x, cloud.y, *others), name=cloud.table)
    frame = frame.drop_nulls([cloud.x, cloud.y, *others])
    if frame.is_empty():
        raise NothingToDraw(f"no row of {cloud.table} has both {cloud.x} and {cloud.y}")
    return frame


def _draw_points(ax: Axes, frame: pl.DataFrame, cloud: PointCloud, *, color: str, marker: str, name: str) -> None:
    # Many points are drawn smaller and fainter, so that what lies below still shows.
    size, faint = (9.0, 0.8) if frame.height <= 150 else (5.0, 0.55)
    x, y = values(frame, cloud.x), values(frame, cloud.y)
    ax.scatter(x, y, s=size, alpha=faint, color=color, marker=marker, linewidths=0, label=name)


def _finish(ax: Axes, cloud: PointCloud) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(6))
    low, high = ax.get_ylim()
    if low < 0 < high:
        zero_line(ax)
    finish(ax, x=axis_label(cloud.x), y=axis_label(cloud.y))
