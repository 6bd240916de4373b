"""Panels of correlations with intervals: signals with outcomes, and relations of pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from types import MappingProxyType

import polars as pl
from matplotlib.axes import Axes

from geodiag.figures.captions import describe
from geodiag.figures.colors import signal_color, signal_marker
from geodiag.figures.data import NothingToDraw, Tables, need, with_baseline, with_step
from geodiag.figures.estimates import Series, bar_legend, draw_bars, draw_forest, forest_legend
from geodiag.figures.labels import RHO, STRENGTH, label
from geodiag.figures.panels import Prepare, Ready

BOUNDED = "Whiskers: 95 % intervals from resampling whole runs"
WHISKERS = f"{BOUNDED}; hollow: no interval"


def signal_styles(names: Sequence[str]) -> dict[str, Series]:
    """Signals as series: their own label, colour and marker."""
    return {name: Series(label(name), signal_color(name), signal_marker(name)) for name in names}


def unique(frame: pl.DataFrame, column: str) -> list[str]:
    """A column's values in order of appearance."""
    return list(dict.fromkeys(frame[column].to_list()))


def observations(frame: pl.DataFrame, otherwise: str, *, each: str = "") -> str:
    """What a table's column `n` says of its rows, as "250", "240 to 250" or, with `each`, "91 in each size"."""
    if "n" not in frame.columns or frame["n"].drop_nulls().is_empty():
        return otherwise
    found = sorted(int(n) for n in frame["n"].drop_nulls())
    text = str(found[0]) if found[0] == found[-1] else f"{found[0]} to {found[-1]}"
    return f"{text} in each {each}" if each else text


def strengths(frame: pl.DataFrame) -> pl.DataFrame:
    """Correlations without their sign; intervals, where there are any, of negative ones turn with them."""
    down, low, high = pl.col("spearman") < 0, pl.col("ci_low"), pl.col("ci_high")
    turned = {
        "ci_low": pl.when(down).then(-high).otherwise(low),
        "ci_high": pl.when(down).then(-low).otherwise(high),
    }
    return frame.with_columns(
        pl.col("spearman").abs(), *(found.alias(name) for name, found in turned.items() if name in frame.columns)
    )


def estimates(tables: Tables, table: str, names: tuple[str, ...]) -> pl.DataFrame:
    """A table of correlations with intervals, once it has one.

    Raises:
        NothingToDraw: none is defined.
    """
    frame = need(tables.get(table), (*names, "spearman", "ci_low", "ci_high"), name=table)
    if frame["spearman"].count() == 0:
        raise NothingToDraw(f"no correlation of {table} is defined", fix="it takes runs of more steps, or more runs")
    return frame


def grouped_forest(table: str, category: str, *, about: str, legend: bool = True) -> Prepare:
    """Signals' correlations with their intervals, a line for each size or method."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = with_baseline(tables, estimates(tables, table, (category, "signal")), by=category, target="forgetting")
        styles = signal_styles(unique(frame, "signal"))

        def draw(ax: Axes) -> None:
            draw_forest(ax, frame, category=category, series="signal", styles=styles)
            if legend:
                forest_legend(ax, styles)
            _correlations_say(ax, f"{about}. {WHISKERS}", table, frame, tables, shows=styles)

        return [Ready(draw, 0.75 + 0.085 * (len(styles) + 1) * frame[category].n_unique())]

    return prepare


def signal_forest(table: str, *, about: str) -> Prepare:
    """Signals' correlations with their intervals, a line each."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = with_step(tables, estimates(tables, table, ("signal",)))
        styles = signal_styles(unique(frame, "signal"))

        def draw(ax: Axes) -> None:
            draw_forest(ax, frame, category="signal", series="signal", styles=styles, dodge=False, name=label)
            _correlations_say(ax, f"{about}. {WHISKERS}", table, frame, tables, shows=styles)

        return [Ready(draw, 0.6 + 0.2 * len(styles))]

    return prepare


def signal_bars(table: str, *, about: str) -> Prepare:
    """Strengths of signals' correlations as bars."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = with_step(tables, estimates(tables, table, ("signal",)))
        styles = signal_styles(unique(frame, "signal"))

        def draw(ax: Axes) -> None:
            draw_bars(
                ax,
                strengths(frame),
                category="signal",
                series="signal",
                styles=styles,
                value="spearman",
                low="ci_low",
                high="ci_high",
                dodge=False,
                name=_narrow,
                y_label=STRENGTH,
            )
            text = f"{about}, without their sign. {BOUNDED}; one that reaches below 0 has the other sign too"
            _correlations_say(ax, text, table, frame, tables, shows=styles)

        return [Ready(draw, 2.0)]

    return prepare


def wrapped(name: str, width: int = 10) -> str:
    """A column's name on lines of at most `width` letters, where its words allow it."""
    return fill(label(name), width, break_long_words=False, break_on_hyphens=False)


def _narrow(name: str) -> str:
    return wrapped(name, width=8)


def _correlations_say(
    ax: Axes, text: str, table: str, frame: pl.DataFrame, tables: Tables, *, shows: Iterable[str]
) -> None:
    n = observations(frame, tables.count("step"))
    describe(ax, text, table=table, frame=frame, n=n, runs=tables.runs, shows=shows)


PAIRS, RIVALS = "table06_pairwise_confidence", "table07_geometry_vs_gradient"

SIDES: Mapping[str, Series] = MappingProxyType(
    {
        "geometry": Series("Geometry", signal_color("global_gap"), "v"),
        "gradient": Series("Gradient", signal_color("min_grad_cos"), "p"),
    }
)
"""The two sides of the comparison of geometry with gradients."""
_RELATION = Series("", signal_color("active_conflict"))


def relation_forest() -> Prepare:
    """Correlations over pairs of tasks with their intervals."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = estimates(tables, PAIRS, ("relation",))
        styles = dict.fromkeys(frame["relation"].to_list(), _RELATION)

        def draw(ax: Axes) -> None:
            draw_forest(ax, frame, category="relation", series="relation", styles=styles, dodge=False, name=_broken)
            n = observations(frame, tables.count("pair"))
            text = f"Rank correlations over pairs of a new and an old task. {WHISKERS}"
            describe(ax, text, table=PAIRS, frame=frame, n=n, runs=tables.runs)

        return [Ready(draw, 0.6 + 0.27 * len(styles))]

    return prepare


def target_forest() -> Prepare:
    """The best signal of geometry and the best of gradients against each outcome, with their intervals."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = rivals(tables)

        def draw(ax: Axes) -> None:
            draw_forest(ax, frame, category="line", series="side", styles=SIDES, x_label=RHO)
            forest_legend(ax, SIDES)
            _relations_say(ax, frame, tables, "Rank correlations with each outcome", WHISKERS)

        return [Ready(draw, 0.6 + 0.42 * frame["line"].n_unique())]

    return prepare


def target_bars() -> Prepare:
    """The same as bars of strengths."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = rivals(tables)

        def draw(ax: Axes) -> None:
            draw_bars(
                ax,
                strengths(frame),
                category="line",
                series="side",
                styles=SIDES,
                value="spearman",
                low="ci_low",
                high="ci_high",
                y_label=STRENGTH,
            )
            bar_legend(ax, SIDES)
            _relations_say(ax, frame, tables, "Rank correlations with each outcome, without their sign", BOUNDED)

        return [Ready(draw, 2.1)]

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
    lines = ["\n".join([label(target), f"{_side(one)},", _side(other)]) for target, one, other in names]
    frame = frame.with_columns(line=pl.Series(lines))
    sides = [
        frame.select("target", "line", *(pl.col(f"{side}_{field}").alias(field) for field in fields), side=pl.lit(side))
        for side in SIDES
    ]
    return pl.concat(sides).sort(pl.col("line").replace_strict({line: k for k, line in enumerate(lines)}))


def _broken(relation: str) -> str:
    return wrapped(relation, width=16)


def _side(predictor: str | None) -> str:
    return "none" if predictor is None else label(predictor)


def _relations_say(ax: Axes, frame: pl.DataFrame, tables: Tables, text: str, bounds: str) -> None:
    said = f"{text}: under each outcome the geometry and the gradient signal compared. {bounds}"
    describe(
        ax,
        said,
        table=RIVALS,
        frame=frame,
        n=tables.count("step"),
        runs=tables.runs,
        shows=frame["predictor"].drop_nulls(),
    )
