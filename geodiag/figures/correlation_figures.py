"""Figures of correlations: the published ones, and those controlled for run and step index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import polars as pl
from matplotlib.axes import Axes

from geodiag.figures.axes import finish, one_axes
from geodiag.figures.captions import RHO, describe
from geodiag.figures.colors import signal_color, signal_marker
from geodiag.figures.correlation_maps import CorrelationMap, correlation_map, correlation_rows, map_ready
from geodiag.figures.correlation_panels import (
    BEST_OF_BOTH,
    BY_METHOD,
    BY_SIZE,
    GLOBAL,
    METHOD_MAP,
    PAIR_CORRELATIONS,
    PAIRS,
    PAIRS_BY_METHOD,
    PAIRS_BY_SIZE,
    RIVALS,
    forest,
    observations,
    signals_by,
    signals_overall,
    strength_bars,
    wrapped,
)
from geodiag.figures.data import CONFOUNDS, Data, NothingToDraw, Tables, need, unique
from geodiag.figures.estimates import Estimates, Series, draw_forest, forest_legend
from geodiag.figures.panels import Panel, Prepare, Ready, compose, rows_of
from geodiag.figures.registry import COMPARED, SCORED, figure
from geodiag.figures.theme import ONE_AND_HALF, SMALL_TEXT, TWO_COLUMNS
from geodiag.signals.catalog import HEADLINE_SIGNALS, PAIR_RELATIONS, label
from geodiag.tables.confounds import WAYS

__all__ = [
    "confounds",
    "fig02_global_and_method",
    "fig05_intervals",
    "fig08_step_correlations",
    "fig09_pair_correlations",
    "fig12_outcomes_by_method",
    "fig13_outcomes",
    "incremental_value",
]

OUTCOMES_BY_METHOD, OUTCOMES = "fig12_method_correlation_heatmaps", "fig13_step_explanation_heatmap"

ACROSS = 2
"""Methods side by side where each has a heatmap with intervals."""
WITH_FORGETTING = "Rank correlations of steps' signals with forgetting, which is negative where scores were lost"


@figure("Signals and forgetting, over all runs and by method", tables=(GLOBAL, METHOD_MAP, CONFOUNDS), needs=SCORED)
def fig02_global_and_method(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Which signals go with forgetting: strengths over all runs, and signed correlations method by method."""
    bars = strength_bars(
        signals_overall(GLOBAL, about=WITH_FORGETTING),
        height=2.0,
        name=lambda name: wrapped(name, width=8),
        note="; one that reaches below 0 has the other sign too",
    )
    spec = CorrelationMap(
        *(METHOD_MAP, "method", "signal", f"{WITH_FORGETTING}, by method"),
        by="method",
        target="forgetting",
        baseline=True,
        wide=HEADLINE_SIGNALS,
    )
    return compose(data, [[Panel("All runs", bars)], [Panel("By method", correlation_map(spec))]], axes)


@figure("Correlations with their intervals", tables=(GLOBAL, PAIRS, BY_SIZE, RIVALS, CONFOUNDS), needs=SCORED)
def fig05_intervals(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Every headline correlation with its interval: over all runs, by size, of pairs, against gradients."""
    overall = signals_overall(GLOBAL, about=WITH_FORGETTING)
    rows = [
        [
            Panel("Steps, all runs", forest(overall, line=0.2, name=label)),
            Panel("Pairs, all runs", forest(PAIR_CORRELATIONS, line=0.27, name=lambda name: wrapped(name, width=16))),
        ],
        [
            Panel("Steps, by size", _grouped("size", BY_SIZE)),
            Panel("Geometry against gradients", forest(BEST_OF_BOTH, line=0.42, legend=True)),
        ],
    ]
    return compose(data, rows, axes)


@figure("Step correlations by size and method", tables=(BY_SIZE, BY_METHOD), needs=SCORED)
def fig08_step_correlations(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Steps' signals against forgetting, by size and by method."""
    by_size, by_method = _grouped("size", BY_SIZE, legend=False), _grouped("method", BY_METHOD)
    return compose(data, [[Panel("By size", by_size), Panel("By method", by_method, width=1.3)]], axes)


@figure(
    "Pair correlations by size and method",
    tables=(PAIRS_BY_METHOD, PAIRS_BY_SIZE),
    needs=f"{COMPARED}, and scores",
)
def fig09_pair_correlations(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Pairs of a new and an old task: alignment, conflict and what became of the old one, by size and method."""
    about = "Rank correlations over pairs of a new and an old task"
    by_size, by_method = (
        CorrelationMap(table, by, "relation", f"{about}, by {by}", level="pair", by=by, wide=tuple(PAIR_RELATIONS))
        for table, by in ((PAIRS_BY_SIZE, "size"), (PAIRS_BY_METHOD, "method"))
    )
    row = [Panel("By size", correlation_map(by_size, bar=False)), Panel("By method", correlation_map(by_method))]
    return compose(data, [row], axes)


@figure("Signals and outcomes by method", tables=(OUTCOMES_BY_METHOD,), needs=SCORED)
def fig12_outcomes_by_method(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Steps' signals against each outcome, method by method."""
    about = "Rank correlations of steps' signals with their outcomes"
    spec = CorrelationMap(OUTCOMES_BY_METHOD, "signal", "target", about, by="method", baseline=True)
    methods = unique(need(data.get(spec.table), ("method",), name=spec.table), "method")
    panels = [Panel(method, _method_map(spec, method, place=k, of=len(methods))) for k, method in enumerate(methods)]
    return compose(data, rows_of(panels, ACROSS), axes, aligned=True)


@figure("Signals and outcomes", tables=(OUTCOMES, CONFOUNDS), needs=SCORED)
def fig13_outcomes(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Steps' signals against each outcome, over all runs."""
    about = "Rank correlations of steps' signals with their outcomes, all runs"
    spec = CorrelationMap(OUTCOMES, "signal", "target", about, by="all", baseline=True)
    return compose(data, [[Panel("All runs", correlation_map(spec))]], axes, width=ONE_AND_HALF)


def _grouped(by: str, table: str, *, legend: bool = True) -> Prepare:
    return forest(signals_by(by, table, about=f"{WITH_FORGETTING}, by {by}"), margin=0.75, legend=legend)


def _method_map(spec: CorrelationMap, method: str, *, place: int, of: int) -> Prepare:
    """The heatmap of one method; those at the left have labels, those at the right a colour bar."""
    left, right = place % ACROSS == 0, place % ACROSS == ACROSS - 1 or of == 1

    def prepare(tables: Tables) -> list[Ready]:
        frame = correlation_rows(spec, tables).filter(pl.col("method") == method)
        return [map_ready(spec, frame, tables, title=method, bar=right, names=left)]

    return prepare


INCREMENTAL = "incremental"
WAY_STYLES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "pooled": ("#4D4D4D", "s"),
        "within": ("#0072B2", "o"),
        "between": ("#CC79A7", "p"),
        "step_partial": ("#D55E00", "D"),
        "norm_partial": ("#009E73", "^"),
    }
)
"""Colour and marker of each correlation of the table `confounds`."""
SHOWN_CONFOUNDS = ("pooled", "within", "step_partial")
"""Those drawn unless others are named."""
INTERVAL_COLUMNS = "Whiskers: 95 % intervals, leaving one run out at a time; hollow: no interval"


@figure("Signals with runs and the step index taken apart", tables=(CONFOUNDS,), needs=SCORED)
def confounds(
    data: Data, *, target: str = "forgetting", ways: Sequence[str] = SHOWN_CONFOUNDS, ax: Axes | None = None
) -> Axes:
    """Every signal against an outcome: over all steps, inside runs, and at a fixed step.

    Args:
        data: a store, or the table `confounds`.
        target: the outcome.
        ways: correlations, names of `geodiag.tables.confounds.WAYS`.
        ax: axes to draw in.

    Raises:
        NothingToDraw: no correlation with that outcome is defined.
    """
    frame = need(data.get(CONFOUNDS), ("signal", "target", "correlation", "rho", "low", "high"), name=CONFOUNDS)
    frame = frame.filter(pl.col("target") == target, pl.col("correlation").is_in(list(ways)))
    frame, absent = _with_estimates(frame, "rho")
    labels = {way.name: way.label for way in WAYS}
    styles = {name: Series(labels[name], *WAY_STYLES[name]) for name in ways}
    drawn = Estimates(frame, "signal", "correlation", styles, value="rho", interval=("low", "high"), name=label)
    ax = one_axes(ax, (TWO_COLUMNS * 0.72, 0.6 + 0.075 * (len(styles) + 1) * len(drawn.categories)))
    draw_forest(ax, drawn)
    forest_legend(ax, styles)
    finish(ax, x=f"{RHO} with {label(target).lower()}")
    text = f"Rank correlations of each signal with {label(target).lower()}. {INTERVAL_COLUMNS}{_absent(absent)}"
    _describe(ax, text, CONFOUNDS, frame)
    return ax


@figure("What signals add to step and norms", tables=(INCREMENTAL,), needs="scores of several runs")
def incremental_value(data: Data, *, target: str = "forgetting", axes: Iterable[Axes] | None = None) -> list[Axes]:
    """What each signal adds to the step index and the norms: its slope beside them, and better predictions.

    Args:
        data: a store, or the table `incremental`.
        target: the outcome, "forgetting" or "worst_drop".
        axes: axes to draw in.

    Raises:
        NothingToDraw: nothing of the kind could be estimated.
    """
    about = f"{label(target)}: slope on ranks beside the step index and the norms, standard errors by run"
    slopes = _added(target, ("slope", "slope_low", "slope_high"), "Slope on ranks", about, verdicts=False)
    about = f"{label(target)}: what the signal adds to predictions for runs held out, and what it is called for it"
    gains = _added(target, ("spearman_gain", "gain_low", "gain_high"), f"Gain in {RHO}, held-out runs", about)
    row = [Panel("Beside step and norms", slopes), Panel("Better predictions", gains)]
    return compose(data, [row], axes)


def _added(target: str, columns: tuple[str, str, str], unit: str, about: str, *, verdicts: bool = True) -> Prepare:
    def prepare(tables: Tables) -> list[Ready]:
        frame = need(tables.get(INCREMENTAL), ("signal", "target", "verdict", *columns), name=INCREMENTAL)
        frame, absent = _with_estimates(frame.filter(pl.col("target") == target), columns[0])
        styles = {s: Series("", signal_color(s), signal_marker(s)) for s in unique(frame, "signal")}
        drawn = Estimates(
            *(frame, "signal", "signal", styles),
            value=columns[0],
            interval=columns[1:],
            dodge=False,
            name=label,
            unit=unit,
        )

        def draw(ax: Axes) -> None:
            draw_forest(ax, drawn, limits=None)
            if verdicts:
                _write_verdicts(ax, frame)
            text = f"{about}. Whiskers: 95 % intervals; hollow: no interval{_absent(absent)}"
            _describe(ax, text, INCREMENTAL, frame)

        return [Ready(draw, 0.65 + 0.17 * len(styles))]

    return prepare


def _write_verdicts(ax: Axes, frame: pl.DataFrame) -> None:
    place = ax.get_yaxis_transform()
    for k, verdict in enumerate(frame["verdict"]):
        ax.text(1.02, k, verdict, transform=place, va="center", fontsize=SMALL_TEXT)


def _with_estimates(frame: pl.DataFrame, column: str) -> tuple[pl.DataFrame, list[str]]:
    """The rows of signals that have an estimate, and the signals that have none.

    Raises:
        NothingToDraw: none has.
    """
    defined = frame.drop_nulls(column)["signal"].unique().to_list()
    if not defined:
        notes = frame["note"].drop_nulls().unique(maintain_order=True).to_list() if "note" in frame.columns else []
        raise NothingToDraw("; ".join(["no signal has an estimate", *notes[:1]]))
    absent = [name for name in unique(frame, "signal") if name not in defined]
    return frame.filter(pl.col("signal").is_in(defined)), absent


def _absent(names: Sequence[str]) -> str:
    return f". Without an estimate: {', '.join(label(name) for name in names)}" if names else ""


def _describe(ax: Axes, text: str, table: str, frame: pl.DataFrame) -> None:
    runs = frame["runs"].max() if "runs" in frame.columns else None
    count = None if runs is None else int(str(runs))
    describe(ax, text, table=table, frame=frame, n=observations(frame, ""), runs=count, shows=unique(frame, "signal"))
