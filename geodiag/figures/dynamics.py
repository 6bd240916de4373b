"""Signals and losses over the steps, of one run and by size and method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl
from matplotlib.axes import Axes

from geodiag.figures.axes import draw_lines, finish, grid_lines, has_values, many_axes, one_run, step_axis, zero_line
from geodiag.figures.captions import RHO, axis_number, describe
from geodiag.figures.colors import signal_color, signal_marker
from geodiag.figures.correlation_maps import CorrelationMap, correlation_map
from geodiag.figures.correlation_panels import BY_SIZE, METHOD_MAP
from geodiag.figures.data import Data, NothingToDraw, Tables, need
from geodiag.figures.family_figures import SHARES, top_layer_bars
from geodiag.figures.panels import Panel, Prepare, Ready, compose
from geodiag.figures.registry import SCORED, figure
from geodiag.figures.theme import ONE_COLUMN, TINY, TWO_COLUMNS
from geodiag.signals.catalog import GAP_SIGNALS, label
from geodiag.tables.intervals import OWN_INTERVALS as OWN_SIZES
from geodiag.tables.layers import labelled_values, scaled_within_runs
from geodiag.tables.options import BASELINE_METHOD as OWN_METHOD
from geodiag.tables.options import order_methods, order_sizes

__all__ = ["fig01_state_dynamics", "fig10_state_dynamics_by_size", "fig11_step_dynamics", "step_dynamics"]


@dataclass(frozen=True)
class Strip:
    """Signals of one unit that share axes."""

    unit: str
    """The label of the vertical axis."""
    names: tuple[str, ...]
    """The columns."""
    meaning: str
    """What the strip shows, for the caption."""


STRIPS: tuple[Strip, ...] = (
    Strip("Conflict, gap", ("active_conflict", "state_conflict", "state_gap", "global_gap"), "Geometry conflict"),
    Strip("Cosine, share", ("mean_grad_cos", "min_grad_cos", "neg_grad_ratio"), "Probe gradients"),
    Strip("Frobenius norm", ("update_norm", "state_norm"), "Size of updates"),
    Strip("Score (fraction)", ("retention_loss", "worst_drop"), "Retention loss and worst drop"),
)
"""The strips of `step_dynamics` from the top. A strip without any value is left out."""


@figure("Steps of a run", tables=("step_signals",), per_run=True)
def step_dynamics(data: Data, *, run: str | None = None, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Signals and outcomes of one run over its steps.

    Args:
        data: a store, or rows of `step_signals`.
        run: which run, where there are several.
        axes: axes to draw in, one a strip that has values.

    Returns:
        The axes, from the top: conflict, gradients, norms, scores.

    Raises:
        NothingToDraw: no signal has a value.
        SettingsError: the run is not named, or not there.
    """
    frame = one_run(need(data.get("step_signals"), ("run", "step"), name="rows"), run)
    strips = [s for s in STRIPS if any(has_values(frame, name) for name in s.names)]
    if not strips:
        raise NothingToDraw("no signal of the run has a value", run=run)
    size = ONE_COLUMN if frame.height <= 20 else TWO_COLUMNS, 1.1 * len(strips) + 1.0
    drawn = many_axes(axes, len(strips), 1, size)
    for ax, strip in zip(drawn, strips, strict=True):
        _draw_strip(ax, frame, strip, last=strip is strips[-1])
    drawn[0].set_title(frame["run"][0])
    return drawn


def _draw_strip(ax: Axes, frame: pl.DataFrame, strip: Strip, *, last: bool) -> None:
    names = [name for name in strip.names if has_values(frame, name)]
    draw_lines(ax, frame, names)
    step_axis(ax, frame, tasks=last)
    zero_line(ax)
    grid_lines(ax, axis="y")
    finish(ax, x="Task trained at the step" if last else "", y=strip.unit)
    ax.tick_params(labelbottom=last)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    text = f"{strip.meaning} over the steps of run {frame['run'][0]}; a gap in a line is a step without a value"
    describe(ax, text, table="step_signals", frame=labelled_values(frame, names), shows=names)


LOSS = "retention_loss"
CURVE_LINE = 1.25 * TINY
"""Points from one line of the smallest text to the next."""
OWN_LOSS = "fig10_seq_sft_retention_loss_correlations"
"""Correlations with retention loss under sequential fine-tuning, by size."""
_COLUMNS = ("run", "size", "method", "step")


@dataclass(frozen=True)
class Edges:
    """Edges of the grid that an axes lies at, where it has labels."""

    left: bool
    """Whether at the left edge."""
    right: bool
    """Whether at the right edge."""
    bottom: bool
    """Whether at the bottom."""


@figure(
    "State dynamics under one method, and strength of signals by size", tables=("step_signals", BY_SIZE), needs=SCORED
)
def fig01_state_dynamics(data: Data, *, method: str | None = None, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """State gaps and retention loss under one method, and how strongly each signal goes with forgetting.

    Args:
        data: a store, or the tables.
        method: the method of the curves; sequential fine-tuning where it was run, else the first.
        axes: axes to draw in.
    """
    spec = CorrelationMap(
        BY_SIZE,
        "signal",
        "size",
        "Strength of steps' rank correlations with forgetting, by size",
        strength=True,
    )
    curves = Panel("Dynamics by size", scaled_curves((LOSS, "state_gap", "global_gap"), method=method))
    rows = [[curves], [Panel("Strength by size", correlation_map(spec))]]
    return compose(data, rows, axes, legend=True)


@figure("State-relative dynamics by size", tables=("step_signals", OWN_LOSS, METHOD_MAP, SHARES), needs=SCORED)
def fig10_state_dynamics_by_size(
    data: Data, *, method: str | None = None, axes: Iterable[Axes] | None = None
) -> list[Axes]:
    """State-relative conflict and retention loss of every size; their correlations; and the families of top layers.

    Args:
        data: a store, or the tables.
        method: the method of the curves; sequential fine-tuning where it was run, else the first.
        axes: axes to draw in.
    """
    about = (
        "Rank correlations of steps' signals with retention loss, which is positive where scores were lost, each over "
        "the runs of one size under Seq. SFT"
    )
    own = CorrelationMap(OWN_LOSS, "size", "signal", about, level="", by=OWN_SIZES, target=LOSS, wide=GAP_SIGNALS)
    about = "Rank correlations of steps' signals with forgetting, which is negative where scores were lost, by method"
    by_method = CorrelationMap(
        METHOD_MAP, "method", "signal", about, by="method", target="forgetting", wide=GAP_SIGNALS
    )
    rows = [
        [Panel("Dynamics by size", scaled_curves((LOSS, *GAP_SIGNALS), method=method, correlations=True))],
        [
            Panel("Seq. SFT, with retention loss", correlation_map(own)),
            Panel("By method, with forgetting", correlation_map(by_method)),
        ],
        [Panel("By family", top_layer_bars(height=1.7))],
    ]
    return compose(data, rows, axes, legend=True)


@figure("Step dynamics of every run", tables=("step_signals",), needs="steps of two tasks or more")
def fig11_step_dynamics(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Conflict, gaps and retention loss over the steps of every run: methods down, sizes across."""
    frame = need(data.get("step_signals"), (*_COLUMNS, *GAP_SIGNALS), name="step_signals")
    methods = order_methods(frame["method"])
    rows = [[Panel(method, _grid_row(method, bottom=method == methods[-1]))] for method in methods]
    return compose(data, rows, axes, legend=True, aligned=True)


def scaled_curves(names: Sequence[str], *, method: str | None, correlations: bool = False) -> Prepare:
    """Curves of one method, one axes a size, each scaled to its own range within its run."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = need(tables.get("step_signals"), (*_COLUMNS, *names), name="step_signals")
        chosen = _method(frame, method)
        frame = frame.filter(pl.col("method") == chosen)
        shown = [name for name in names if has_values(frame, name)]
        if not shown:
            raise NothingToDraw(f"no step under {chosen} has a {' or '.join(label(n).lower() for n in names)}")
        own = tables.find(OWN_LOSS) if correlations and chosen == OWN_METHOD else None
        sizes = order_sizes(frame["size"])
        return [_scaled_ready(frame, size, shown, own, first=size == sizes[0]) for size in sizes]

    return prepare


def draw_runs(ax: Axes, frame: pl.DataFrame, names: Sequence[str]) -> None:
    """Curves of one or several runs; those of several are thin."""
    runs = frame["run"].unique().sort().to_list()
    width = 1.0 if len(runs) == 1 else 0.6
    for run in runs:
        rows = frame.filter(pl.col("run") == run).sort("step")
        for name in names:
            draw_lines(ax, rows, [name], width=width)


def _scaled_ready(
    frame: pl.DataFrame, size: str, names: Sequence[str], own: pl.DataFrame | None, *, first: bool
) -> Ready:
    rows = frame.filter(pl.col("size") == size)
    method, scaled = rows["method"][0], scaled_within_runs(labelled_values(rows, names), names)

    def draw(ax: Axes) -> None:
        draw_runs(ax, scaled, names)
        step_axis(ax, rows, tasks=False)
        ax.set_ylim(-0.05, 1.05)
        ax.set_yticks([0, 0.5, 1], labels=["lowest", "", "highest"] if first else [""] * 3)
        grid_lines(ax, axis="y")
        finish(ax, x="Step", y="Within the run" if first else "", title=f"{method}, {size}" if first else size)
        note = _write_correlations(ax, own, size)
        text = f"Signals over the steps of {size} under {method}, each from its lowest to its highest value in the run"
        describe(ax, text + note, table="step_signals", frame=rows, drawn=scaled, shows=names)

    return Ready(draw, 1.65 if own is None else 1.95)


def _write_correlations(ax: Axes, own: pl.DataFrame | None, size: str) -> str:
    """Writes a size's correlations with retention loss above its curves, and returns the caption's sentence on them."""
    correlations = own.filter(pl.col("size") == size) if own is not None else pl.DataFrame()
    if correlations.is_empty():
        return ""
    # Distances are in points: what stands above axes keeps its place whatever their height.
    for k, name in enumerate(reversed(GAP_SIGNALS)):
        ax.annotate(
            f"{label(name)} {axis_number(correlations[name][0])}",
            (0.5, 1),
            xytext=(0, 3 + CURVE_LINE * k),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=TINY,
            color=signal_color(name),
            ha="center",
        )
    ax.set_title(ax.get_title(), pad=5 + CURVE_LINE * len(GAP_SIGNALS))
    return f"; above: {RHO} with retention loss"


def _grid_row(method: str, *, bottom: bool) -> Prepare:
    def prepare(tables: Tables) -> list[Ready]:
        frame = tables.get("step_signals")
        sizes = order_sizes(frame["size"])
        edges = [Edges(size == sizes[0], size == sizes[-1], bottom) for size in sizes]
        return [_grid_ready(frame, method, size, edge) for size, edge in zip(sizes, edges, strict=True)]

    return prepare


def _grid_ready(frame: pl.DataFrame, method: str, size: str, edge: Edges) -> Ready:
    rows = frame.filter(pl.col("method") == method, pl.col("size") == size)

    def draw(ax: Axes) -> None:
        if rows.is_empty():
            ax.text(0.5, 0.5, "no run", ha="center", va="center", transform=ax.transAxes, color="#888888")
            ax.set_axis_off()
        else:
            _draw_both(ax, rows, _limits(frame, GAP_SIGNALS), _limits(frame, (LOSS,)), edge)
        ax.set_title(f"{method}, {size}" if edge.left else size)
        text = f"Conflict and gaps (left axis) and retention loss (right axis) over the steps of {size} under {method}"
        drawn = labelled_values(rows, [name for name in (*GAP_SIGNALS, LOSS) if name in rows.columns])
        describe(ax, text, table="step_signals", frame=drawn, shows=GAP_SIGNALS)

    return Ready(draw, 1.3)


def _draw_both(
    ax: Axes, rows: pl.DataFrame, left: tuple[float, float], right: tuple[float, float], edge: Edges
) -> None:
    draw_runs(ax, rows, [name for name in GAP_SIGNALS if has_values(rows, name)])
    other = ax.twinx()
    if has_values(rows, LOSS):
        draw_runs(other, rows, [LOSS])
        ax.plot([], [], color=signal_color(LOSS), marker=signal_marker(LOSS), label=label(LOSS))
    step_axis(ax, rows, tasks=False)
    ax.set_ylim(*left)
    other.set_ylim(*right)
    other.spines["right"].set_visible(True)
    grid_lines(ax, axis="y")
    finish(ax, x="Step" if edge.bottom else "", y="Conflict, gap" if edge.left else "")
    finish(other, y="Loss (fraction)" if edge.right else "")
    ax.tick_params(labelleft=edge.left)
    other.tick_params(labelright=edge.right, colors=signal_color(LOSS))
    other.yaxis.label.set_color(signal_color(LOSS))


def _limits(frame: pl.DataFrame, names: Sequence[str]) -> tuple[float, float]:
    """The range of columns over all runs, with a little room, so that axes of a kind can be compared."""
    numbers = [x for name in names if name in frame.columns for x in frame[name].drop_nulls().to_list()]
    low, high = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def _method(frame: pl.DataFrame, method: str | None) -> str:
    methods = order_methods(frame["method"])
    if method is None:
        return OWN_METHOD if OWN_METHOD in methods else methods[0]
    if method not in methods:
        raise NothingToDraw(f"there is no run of method {method!r}", fix=f"one of: {', '.join(methods)}")
    return method
