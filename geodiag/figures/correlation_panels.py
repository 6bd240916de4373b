"""Panels of correlations with intervals, as forests and as bars: signals with outcomes, and relations of pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from types import MappingProxyType

import polars as pl
from matplotlib.axes import Axes

from geodiag.figures.captions import STRENGTH, describe
from geodiag.figures.colors import signal_color, signal_marker
from geodiag.figures.data import NothingToDraw, Tables, need, unique, with_baseline, with_step
from geodiag.figures.estimates import Estimates, Series, bar_legend, draw_bars, draw_forest, forest_legend
from geodiag.figures.panels import Prepare, Ready
from geodiag.signals.catalog import label

BOUNDED = "Whiskers: 95 % intervals from resampling whole runs"
WHISKERS = f"{BOUNDED}; hollow: no interval"


def signal_styles(names: Sequence[str]) -> dict[str, Series]:
    """Signals as series: their own label, colour and marker."""
    return {name: Series(label(name), signal_color(name), signal_marker(name)) for name in names}


def observations(frame: pl.DataFrame, otherwise: str, *, each: str = "") -> str:
    """A table's column `n`, as "250", "240 to 250" or, with `each`, "91 in each size"; `otherwise` without one."""
    if "n" not in frame.columns or frame["n"].drop_nulls().is_empty():
        return otherwise
    counts = sorted(int(n) for n in frame["n"].drop_nulls())
    text = str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
    return f"{text} in each {each}" if each else text


def strengths(frame: pl.DataFrame) -> pl.DataFrame:
    """Correlations without their sign; intervals, where there are any, of negative ones turn with them."""
    down, low, high = pl.col("spearman") < 0, pl.col("ci_low"), pl.col("ci_high")
    turned = {
        "ci_low": pl.when(down).then(-high).otherwise(low),
        "ci_high": pl.when(down).then(-low).otherwise(high),
    }
    return frame.with_columns(
        pl.col("spearman").abs(), *(end.alias(name) for name, end in turned.items() if name in frame.columns)
    )


def estimates(tables: Tables, table: str, names: tuple[str, ...]) -> pl.DataFrame:
    """A table of correlations with intervals.

    Raises:
        NothingToDraw: none is defined.
    """
    frame = need(tables.get(table), (*names, "spearman", "ci_low", "ci_high"), name=table)
    if frame["spearman"].count() == 0:
        raise NothingToDraw(f"no correlation of {table} is defined", fix="it takes runs of more steps, or more runs")
    return frame


GLOBAL, BY_SIZE, BY_METHOD = "table03_global_step_confidence", "table04_scale_confidence", "table05_method_confidence"
METHOD_MAP = "table09_method_step_correlations"
PAIRS_BY_METHOD, PAIRS_BY_SIZE = "table13_pairwise_by_method", "table14_pairwise_by_scale"
PAIRS, RIVALS = "table06_pairwise_confidence", "table07_geometry_vs_gradient"

SIDES: Mapping[str, Series] = MappingProxyType(
    {
        "geometry": Series("Geometry", signal_color("global_gap"), "v"),
        "gradient": Series("Gradient", signal_color("min_grad_cos"), "p"),
    }
)
"""The two sides of the comparison of geometry with gradients."""
_RELATION = Series("", signal_color("active_conflict"))


def wrapped(name: str, width: int = 10) -> str:
    """A column's name on lines of at most `width` letters, where its words allow it."""
    return fill(label(name), width, break_long_words=False, break_on_hyphens=False)


@dataclass(frozen=True)
class Correlations:
    """Correlations of one table that a forest or bars show."""

    table: str
    """The table."""
    rows: Callable[[Tables], pl.DataFrame]
    """Its rows, one a correlation."""
    category: str
    """The column that names a line or group."""
    series: str
    """The column that names a series."""
    about: str
    """What they are, for the caption."""
    detail: str = ""
    """A further sentence of the caption, after the first."""
    styles: Callable[[pl.DataFrame], Mapping[str, Series]] = lambda frame: signal_styles(unique(frame, "signal"))
    """How each series is drawn, from the rows."""
    signals: str | None = "signal"
    """The column that names the signals; None where they are none of the catalogue."""
    level: str = "step"
    """Whether correlations are over steps ("step") or pairs ("pair")."""

    def of(self, frame: pl.DataFrame, *, name: Callable[[str], str]) -> Estimates:
        """The estimates of its rows, categories labelled by `name`."""
        dodge = self.category != self.series
        return Estimates(frame, self.category, self.series, self.styles(frame), dodge=dodge, name=name)

    def describe(self, ax: Axes, text: str, frame: pl.DataFrame, tables: Tables) -> None:
        """Attach the caption."""
        n = observations(frame, tables.count(self.level))
        shows = [] if self.signals is None else frame[self.signals].drop_nulls().to_list()
        describe(ax, text, table=self.table, frame=frame, n=n, runs=tables.runs, shows=shows)


def signals_overall(table: str, *, about: str) -> Correlations:
    """Signals' correlations over all runs, with those of the step index."""

    def rows(tables: Tables) -> pl.DataFrame:
        return with_step(tables, estimates(tables, table, ("signal",)))

    return Correlations(table, rows, "signal", "signal", about)


def signals_by(by: str, table: str, *, about: str) -> Correlations:
    """Signals' correlations in each size or method, with those of the step index."""

    def rows(tables: Tables) -> pl.DataFrame:
        return with_baseline(tables, estimates(tables, table, (by, "signal")), by=by, target="forgetting")

    return Correlations(table, rows, by, "signal", about)


PAIR_CORRELATIONS = Correlations(
    PAIRS,
    lambda tables: estimates(tables, PAIRS, ("relation",)),
    "relation",
    "relation",
    "Rank correlations over pairs of a new and an old task",
    styles=lambda frame: dict.fromkeys(unique(frame, "relation"), _RELATION),
    signals=None,
    level="pair",
)
"""Correlations over pairs of tasks."""

BEST_OF_BOTH = Correlations(
    RIVALS,
    lambda tables: rivals(tables),
    "line",
    "side",
    "Rank correlations with each outcome",
    ": under each outcome the geometry and the gradient signal compared",
    styles=lambda _: SIDES,
    signals="predictor",
)
"""The best signal of geometry and the best of gradients against each outcome."""


def forest(
    correlations: Correlations,
    *,
    line: float | None = None,
    margin: float = 0.6,
    name: Callable[[str], str] = str,
    legend: bool = False,
) -> Prepare:
    """Correlations with their intervals, a line of the axes for each category.

    Args:
        correlations: what is drawn.
        line: inches of a line; by default as much as its series need.
        margin: inches of the axis below.
        name: the label of a category.
        legend: whether the series are named to the right.
    """

    def prepare(tables: Tables) -> list[Ready]:
        frame = correlations.rows(tables)
        drawn = correlations.of(frame, name=name)
        height = 0.085 * (len(drawn.styles) + 1) if line is None else line

        def draw(ax: Axes) -> None:
            draw_forest(ax, drawn)
            if legend:
                forest_legend(ax, drawn.styles)
            correlations.describe(ax, f"{correlations.about}{correlations.detail}. {WHISKERS}", frame, tables)

        return [Ready(draw, margin + height * len(drawn.categories))]

    return prepare


def strength_bars(
    correlations: Correlations,
    *,
    height: float,
    name: Callable[[str], str] = str,
    legend: bool = False,
    note: str = "",
) -> Prepare:
    """Strengths of correlations as bars, their intervals as whiskers.

    Args:
        correlations: what is drawn.
        height: inches of the panel.
        name: the label of a category.
        legend: whether the series are named above the bars.
        note: what the caption says of whiskers besides.
    """

    def prepare(tables: Tables) -> list[Ready]:
        frame = correlations.rows(tables)
        drawn = replace(correlations.of(strengths(frame), name=name), unit=STRENGTH)

        def draw(ax: Axes) -> None:
            draw_bars(ax, drawn)
            if legend:
                bar_legend(ax, drawn.styles)
            text = f"{correlations.about}, without their sign{correlations.detail}. {BOUNDED}{note}"
            correlations.describe(ax, text, frame, tables)

        return [Ready(draw, height)]

    return prepare


def rivals(tables: Tables) -> pl.DataFrame:
    """Table 7 with one row a correlation: target, side, predictor, line (target and predictors), estimates.

    Raises:
        NothingToDraw: no correlation is defined.
    """
    fields = ("predictor", "spearman", "ci_low", "ci_high")
    columns = tuple(f"{side}_{field}" for side in SIDES for field in fields)
    frame = need(tables.get(RIVALS), ("target", *columns), name=RIVALS)
    frame = frame.filter(pl.any_horizontal(pl.col(f"{side}_spearman").is_not_null() for side in SIDES))
    if frame.is_empty():
        raise NothingToDraw(f"no correlation of {RIVALS} is defined", fix="it takes runs of more steps, or more runs")
    names = zip(*(frame[name] for name in ("target", "geometry_predictor", "gradient_predictor")), strict=True)
    lines = ["\n".join([label(target), f"{_best(one)},", _best(other)]) for target, one, other in names]
    frame = frame.with_columns(line=pl.Series(lines))
    sides = [
        frame.select("target", "line", *(pl.col(f"{side}_{field}").alias(field) for field in fields), side=pl.lit(side))
        for side in SIDES
    ]
    return pl.concat(sides).sort(pl.col("line").replace_strict({line: k for k, line in enumerate(lines)}))


def _best(predictor: str | None) -> str:
    return "none" if predictor is None else label(predictor)
