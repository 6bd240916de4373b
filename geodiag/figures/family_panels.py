"""Panels by projection family."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes

from geodiag.common.families import FAMILIES
from geodiag.figures.captions import describe
from geodiag.figures.colors import share_scale, signal_color
from geodiag.figures.correlation_panels import unique
from geodiag.figures.data import NothingToDraw, Tables, need
from geodiag.figures.estimates import Series, bar_legend, draw_bars
from geodiag.figures.heatmap import cells, draw_cells
from geodiag.figures.labels import family_label, label, order_families
from geodiag.figures.panels import Prepare, Ready

PROFILE, SHARES = "table17_family_summary", "table18_top_layer_families"
SHARES_BY_METHOD = "fig18_top_layer_families_by_method_in_text"

RANKING_PANELS = {
    "top_geometry_conflict": Series("Most geometry conflict", signal_color("active_conflict")),
    "top_negative_gradient": Series("Most negative gradient", signal_color("neg_grad_ratio")),
}
"""The two rankings of layers."""
_PROFILE_COLORS = {
    "median_sar": signal_color("mean_sar"),
    "mean_gc": signal_color("mean_conflict"),
    "mean_grad_cos": signal_color("mean_grad_cos"),
    "neg_grad_ratio": signal_color("neg_grad_ratio"),
}
_PROFILE_UNITS = {
    "median_sar": "Ratio (0 to 1)",
    "mean_gc": "Conflict (0 to 1)",
    "mean_grad_cos": "Cosine (−1 to 1)",
    "neg_grad_ratio": "Share (0 to 1)",
}


def locus_bars(*, height: float = 1.9) -> Prepare:
    """Families' shares among the layers that stand out at a step, in both rankings."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = need(tables.get(SHARES), ("ranking",), name=SHARES)
        families = [name for name in FAMILIES if name in frame.columns]
        tidy = frame.unpivot(on=families, index="ranking", variable_name="family", value_name="share")
        styles = {name: RANKING_PANELS.get(name, Series(label(name), "#7F7F7F")) for name in unique(frame, "ranking")}

        def draw(ax: Axes) -> None:
            unit = "Share of top layers"
            draw_bars(
                *(ax, tidy),
                category="family",
                series="ranking",
                styles=styles,
                value="share",
                name=family_label,
                y_label=unit,
            )
            bar_legend(ax, styles)
            text = (
                "Families' shares among the layers with most geometry conflict, and most negative gradient, at a step"
            )
            describe(ax, text, table=SHARES, frame=frame, n=tables.count("step"), runs=tables.runs)

        return [Ready(draw, height)]

    return prepare


def family_share_panel(ranking: str, *, bar: bool = True) -> Prepare:
    """Families' shares in one ranking, method by method."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = need(tables.get(SHARES_BY_METHOD), ("ranking", "method", "family", "share"), name=SHARES_BY_METHOD)
        shares = frame["share"].drop_nulls()
        frame = frame.filter(pl.col("ranking") == ranking)
        if frame["share"].drop_nulls().is_empty():
            raise NothingToDraw(f"{SHARES_BY_METHOD} has no share of {ranking}")
        # One scale for all rankings, so that maps of two of them can share a colour bar.
        scale = share_scale(shares, "Share of top layers", from_zero=True)
        methods, families = unique(frame, "method"), order_families([*FAMILIES, *frame["family"]])
        matrix = cells(frame, rows="method", columns="family", value="share", row_order=methods, column_order=families)

        def draw(ax: Axes) -> None:
            columns = [family_label(family) for family in families]
            draw_cells(ax, matrix, scale, column_labels=columns, bar=bar)
            text = f"{label(ranking)}: families' shares among the layers that stand out; blank: none is listed"
            describe(ax, text, table=SHARES_BY_METHOD, frame=frame, n=tables.count("step"), runs=tables.runs)

        return [Ready(draw, max(0.75 + 0.24 * len(methods), 1.45))]

    return prepare


def profile_bars() -> Prepare:
    """Alignment, conflict and gradients of each family, an axes each."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = need(tables.get(PROFILE), ("family",), name=PROFILE)
        found = [name for name in _PROFILE_COLORS if name in frame.columns and frame[name].count()]
        if not found:
            raise NothingToDraw(f"{PROFILE} has no value")
        return [_profile_ready(frame, name, tables) for name in found]

    return prepare


def _profile_ready(frame: pl.DataFrame, name: str, tables: Tables) -> Ready:
    styles = dict.fromkeys(frame["family"].to_list(), Series("", _PROFILE_COLORS[name]))

    def draw(ax: Axes) -> None:
        draw_bars(
            *(ax, frame),
            category="family",
            series="family",
            styles=styles,
            value=name,
            dodge=False,
            name=family_label,
            y_label=_PROFILE_UNITS[name],
            turn=True,
        )
        ax.set_title(label(name))
        text = f"{label(name)} of each projection family over all runs, steps and pairs"
        describe(ax, text, table=PROFILE, frame=frame, runs=tables.runs)

    return Ready(draw, 1.7)
