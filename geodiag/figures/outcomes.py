"""Outcomes: the most harmful transitions, the distribution of old tasks' changes, and scores after the last step."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from geodiag.figures.axes import finish, grid_lines, has_values, one_axes, values, zero_line
from geodiag.figures.captions import axis_number, describe, task_title
from geodiag.figures.colors import EMPHASIS, Scale, method_styles
from geodiag.figures.data import Data, NothingToDraw, Tables, need
from geodiag.figures.heatmap import Cells, draw_cells
from geodiag.figures.panels import Panel, Prepare, Ready, compose
from geodiag.figures.registry import SCORED, figure
from geodiag.figures.theme import INK, ONE_COLUMN
from geodiag.signals.catalog import label
from geodiag.tables.layers import labelled_values
from geodiag.tables.options import order_methods, order_sizes

__all__ = ["fig16_harmful_transitions", "fig19_final_performance", "pair_change_distribution"]

HARMFUL, FINAL = "table16_harmful_transitions", "table21_final_performance"
_PLACE = ("size", "method", "step", "new_task", "old_task")
_GEOMETRY = ("sar", "geometry_conflict", "grad_cos")
_RUN_COLUMNS = {"overall": "final_overall"}
RUNS_WIDTH = 0.8
"""Share of a size's width that its methods take side by side."""
_OUTCOMES = ("overall", "old_mean", "forgetting")


@figure("Most harmful transitions", tables=(HARMFUL,), needs=SCORED)
def fig16_harmful_transitions(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """The steps at which an old task lost most, with the alignment and conflict of the two tasks."""
    title = "Loss of the old task"
    rows = [[Panel(title, harmful_bars(title, with_geometry=True))]]
    return compose(data, rows, axes)


@figure("Final performance", tables=(FINAL,), needs="scores")
def fig19_final_performance(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Scores after the last step, by size and method."""
    row = [Panel(label(name), final_scores(name)) for name in _OUTCOMES]
    return compose(data, [row], axes, legend=True)


def harmful_bars(title: str, *, with_geometry: bool, most: int | None = None) -> Prepare:
    """The most harmful transitions as bars and, with `with_geometry`, the alignment, conflict and gradients of each."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = need(tables.get(HARMFUL), (*_PLACE, "drop", "forgetting"), name=HARMFUL)
        frame = frame if most is None else frame.head(most)
        height = 0.55 + 0.155 * frame.height

        def draw(ax: Axes) -> None:
            _draw_losses(ax, frame)
            ax.set_title(title)
            text = "Bars: change of the old task's score at the step; diamonds: forgetting from its best score before"
            describe(ax, text, table=HARMFUL, frame=frame, runs=tables.runs)

        bars = Ready(draw, height)
        geometry = [name for name in _GEOMETRY if with_geometry and has_values(frame, name)]
        return [bars, _geometry_strip(frame, geometry, tables, height)] if geometry else [bars]

    return prepare


@figure("Distribution of old tasks' changes", tables=("pair_signals",), needs=SCORED)
def pair_change_distribution(data: Data, *, ax: Axes | None = None) -> Axes:
    """Changes of old tasks' scores at every step, by method: median, quantiles and the furthest values.

    Args:
        data: a store, or rows of `pair_signals`.
        ax: axes to draw in.

    Raises:
        NothingToDraw: no old task was scored at two steps in a row.
    """
    from seaborn import boxenplot

    frame = need(data.get("pair_signals"), ("run", "method", "drop"), name="pair_signals")
    if not has_values(frame, "drop"):
        raise NothingToDraw("no pair of tasks has a drop")
    rows = labelled_values(frame.drop_nulls("drop"), ["drop"])
    colors = {method: color for method, (color, _) in method_styles(order_methods(rows["method"])).items()}
    ax = one_axes(ax, (ONE_COLUMN, 0.6 + 0.36 * len(colors)))
    method = {"hue": "method", "order": list(colors), "hue_order": list(colors), "palette": colors, "legend": False}
    points = {"s": 4, "alpha": 0.5, "linewidths": 0.4}
    boxenplot(data=rows.to_pandas(), x="drop", y="method", **method, linewidth=0.5, flier_kws=points, ax=ax)
    zero_line(ax, along="y")
    grid_lines(ax, axis="x")
    finish(ax, x="Score change (fraction)", y="Method")
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    text = (
        "Change of an old task's score at a step, over steps, tasks and runs of a method; line: median; the widest box "
        "holds half of the changes, each narrower one half of those left; points: the furthest"
    )
    describe(ax, text, table="pair_signals", frame=rows)
    return ax


def final_scores(name: str) -> Prepare:
    """One outcome after the last step: sizes across, a curve of means a method, and a point a run."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = need(tables.get(FINAL), ("size", "method", name), name=FINAL)
        if not has_values(frame, name):
            raise NothingToDraw(f"no run has a final {label(name).lower()}")
        runs = _single_runs(tables, name, frame)

        def draw(ax: Axes) -> None:
            _draw_means(ax, frame, runs, name)
            text = f"{label(name)} after the last step, averaged over the runs of a size and method"
            text = text if runs is None else f"{text}; faint points: single runs"
            drawn = frame if runs is None else pl.concat([frame, runs], how="diagonal_relaxed")
            describe(ax, text, table=FINAL, frame=frame, drawn=drawn, runs=tables.runs)

        return [Ready(draw, 2.1)]

    return prepare


def _single_runs(tables: Tables, name: str, means: pl.DataFrame) -> pl.DataFrame | None:
    """The outcome of each run; None where each mean is of one run, or runs are not in the data."""
    outcomes = tables.find("run_outcomes")
    if outcomes is None or outcomes.height <= means.height:
        return None
    return outcomes.select("run", "size", "method", pl.col(_RUN_COLUMNS.get(name, name)).alias(name)).drop_nulls(name)


def _draw_means(ax: Axes, frame: pl.DataFrame, runs: pl.DataFrame | None, name: str) -> None:
    sizes, styles = order_sizes(frame["size"]), method_styles(order_methods(frame["method"]))
    # Where single runs are shown, methods stand side by side.
    width = 0.0 if runs is None else RUNS_WIDTH / len(styles)
    if runs is not None:
        _draw_runs(ax, runs.with_columns(at=_place(sizes)), name, {m: color for m, (color, _) in styles.items()})
    for k, (method, (color, marker)) in enumerate(styles.items()):
        rows = frame.filter(pl.col("method") == method).with_columns(at=_place(sizes)).sort("at")
        at = values(rows, "at") + (k - (len(styles) - 1) / 2) * width
        ax.plot(
            at, values(rows, name), color=color, marker=marker, markersize=3.5 if runs is None else 2.6, label=method
        )
    ax.set_xticks(range(len(sizes)), labels=sizes)
    margin = 0.4 if runs is None else 0.5
    ax.set_xlim(-margin, len(sizes) - 1 + margin)
    grid_lines(ax, axis="y")
    finish(ax, x="Model size", y="Score (fraction)")


def _draw_runs(ax: Axes, runs: pl.DataFrame, name: str, colors: dict[str, str]) -> None:
    from seaborn import stripplot

    method = {"hue": "method", "hue_order": list(colors), "palette": colors, "legend": False}
    points = {"size": 3, "alpha": 0.45, "linewidth": 0}
    stripplot(
        data=runs.to_pandas(), x="at", y=name, **method, **points, dodge=True, jitter=False, native_scale=True, ax=ax
    )


def transition_label(row: dict[str, object]) -> str:
    """ "4B EWC, step 10: math → history"."""
    tasks = f"{task_title(str(row['new_task']))} → {task_title(str(row['old_task']))}"
    return f"{row['size']} {row['method']}, step {row['step']}: {tasks}"


def _draw_losses(ax: Axes, frame: pl.DataFrame) -> None:
    places = np.arange(frame.height) + 0.5
    ax.barh(places, values(frame, "drop"), height=0.7, color=EMPHASIS, zorder=2)
    ax.plot(values(frame, "forgetting"), places, linestyle="none", marker="D", markersize=2.8, color=INK, zorder=3)
    ax.set_ylim(frame.height, 0)
    ax.set_yticks(places, labels=[transition_label(row) for row in frame.iter_rows(named=True)])
    ax.axvline(0, color=INK, linewidth=0.6)
    grid_lines(ax, axis="x")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    finish(ax, x="Score change (fraction); ◆ from its best")
    ax.tick_params(axis="y", length=0)


def _geometry_strip(frame: pl.DataFrame, names: list[str], tables: Tables, height: float) -> Ready:
    numbers = np.column_stack([values(frame, name) for name in names])
    rows = tuple(str(k) for k in range(frame.height))
    scale = Scale("viridis", -1.0 if np.nanmin(numbers) < 0 else 0.0, 1.0, "")
    matrix = Cells(rows, tuple(names), numbers, np.ones(numbers.shape, dtype=bool))

    def draw(ax: Axes) -> None:
        columns = [label(name) for name in names]
        draw_cells(ax, matrix, scale, row_labels=[""] * len(rows), column_labels=columns, bar=False)
        ax.set_title("Geometry and gradients")
        text = "SAR, geometry conflict (0 to 1) and gradient cosine (−1 to 1) of the two tasks; "
        text += f"colours from {axis_number(scale.low, 0)} to 1"
        describe(ax, text, table=HARMFUL, frame=frame, runs=tables.runs)

    return Ready(draw, height)


def _place(sizes: list[str]) -> pl.Expr:
    return pl.col("size").replace_strict({size: k for k, size in enumerate(sizes)})
