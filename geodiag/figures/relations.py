"""Panels of relations other than a signal's with forgetting: of pairs, and of geometry against gradients."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import polars as pl
from matplotlib.axes import Axes

from geodiag.figures.bars import bar_legend, draw_bars
from geodiag.figures.captions import describe
from geodiag.figures.colors import signal_color
from geodiag.figures.correlations import BOUNDED, WHISKERS, estimates, observations, strengths, wrapped
from geodiag.figures.data import NothingToDraw, Tables, need
from geodiag.figures.forest import Series, draw_forest, forest_legend
from geodiag.figures.labels import RHO, STRENGTH, label
from geodiag.figures.panels import Prepare, Ready

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
            _say(ax, frame, tables, "Rank correlations with each outcome", WHISKERS)

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
            _say(ax, frame, tables, "Rank correlations with each outcome, without their sign", BOUNDED)

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


def _say(ax: Axes, frame: pl.DataFrame, tables: Tables, text: str, bounds: str) -> None:
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
