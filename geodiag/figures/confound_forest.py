"""What is left of each signal once runs and the step index are taken apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import polars as pl
from matplotlib.axes import Axes

from geodiag.figures.captions import describe
from geodiag.figures.colors import signal_color, signal_marker
from geodiag.figures.correlations import observations, unique
from geodiag.figures.data import Data, NothingToDraw, Tables, as_tables, need
from geodiag.figures.forest import Series, draw_forest, forest_legend
from geodiag.figures.labels import RHO, label
from geodiag.figures.layout import finish, one_axes
from geodiag.figures.panels import Panel, Prepare, Ready, compose
from geodiag.figures.theme import SMALL, TWO_COLUMNS, themed

CONFOUNDS, INCREMENTAL = "confounds", "incremental"
WAYS: Mapping[str, Series] = MappingProxyType(
    {
        "pooled": Series("Pooled", "#4D4D4D", "s"),
        "within": Series("Within runs", "#0072B2", "o"),
        "between": Series("Between runs", "#CC79A7", "p"),
        "step_partial": Series("At a fixed step", "#D55E00", "D"),
        "norm_partial": Series("At fixed norms", "#009E73", "^"),
    }
)
"""The correlations of the table `confounds`."""
SHOWN = ("pooled", "within", "step_partial")
"""Those drawn unless others are named."""
INTERVALS = "Whiskers: 95 % intervals, leaving one run out at a time; hollow: no interval"


@themed
def confounds(data: Data, *, target: str = "forgetting", ways: Sequence[str] = SHOWN, ax: Axes | None = None) -> Axes:
    """Every signal against an outcome: over all steps, inside runs, and at a fixed step.

    Args:
        data: a store, or the table `confounds`.
        target: the outcome.
        ways: correlations, keys of `WAYS`.
        ax: axes to draw in.

    Raises:
        NothingToDraw: no correlation with that outcome is defined.
    """
    tables = as_tables(data, name=CONFOUNDS)
    frame = need(tables.get(CONFOUNDS), ("signal", "target", "correlation", "rho", "low", "high"), name=CONFOUNDS)
    frame = frame.filter(pl.col("target") == target, pl.col("correlation").is_in(list(ways)))
    known, absent = _with_estimates(frame, "rho")
    styles = {way: WAYS[way] for way in ways}
    lines = known["signal"].n_unique()
    ax = one_axes(ax, (TWO_COLUMNS * 0.72, 0.6 + 0.075 * (len(styles) + 1) * lines))
    columns = ("rho", "low", "high")
    draw_forest(ax, known, category="signal", series="correlation", styles=styles, columns=columns, name=label)
    forest_legend(ax, styles)
    finish(ax, x=f"{RHO} with {label(target).lower()}")
    said = f"Rank correlations of each signal with {label(target).lower()}. {INTERVALS}{_absent(absent)}"
    _describe(ax, said, CONFOUNDS, known)
    return ax


@themed
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
    return compose(as_tables(data, name=INCREMENTAL), [row], axes)


def _added(target: str, columns: tuple[str, str, str], unit: str, about: str, *, verdicts: bool = True) -> Prepare:
    def prepare(tables: Tables) -> list[Ready]:
        frame = need(tables.get(INCREMENTAL), ("signal", "target", "verdict", *columns), name=INCREMENTAL)
        known, absent = _with_estimates(frame.filter(pl.col("target") == target), columns[0])
        styles = {s: Series("", signal_color(s), signal_marker(s)) for s in unique(known, "signal")}

        def draw(ax: Axes) -> None:
            draw_forest(
                *(ax, known),
                category="signal",
                series="signal",
                styles=styles,
                columns=columns,
                dodge=False,
                name=label,
                x_label=unit,
                limits=None,
            )
            if verdicts:
                _write_verdicts(ax, known)
            _describe(
                ax, f"{about}. Whiskers: 95 % intervals; hollow: no interval{_absent(absent)}", INCREMENTAL, known
            )

        return [Ready(draw, 0.65 + 0.17 * len(styles))]

    return prepare


def _write_verdicts(ax: Axes, frame: pl.DataFrame) -> None:
    place = ax.get_yaxis_transform()
    for k, verdict in enumerate(frame["verdict"]):
        ax.text(1.02, k, verdict, transform=place, va="center", fontsize=SMALL)


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
