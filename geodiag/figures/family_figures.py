"""Figures of projection families: their profile, and which of them the layers that stand out belong to."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl
from matplotlib.axes import Axes

from geodiag.common.schema import FAMILIES
from geodiag.figures.axes import has_values
from geodiag.figures.captions import describe, family_label, order_families
from geodiag.figures.colors import share_scale, signal_color
from geodiag.figures.data import Data, NothingToDraw, Tables, need, unique
from geodiag.figures.estimates import Estimates, Series, bar_legend, draw_bars
from geodiag.figures.heatmap import cells, draw_cells
from geodiag.figures.panels import Panel, Prepare, Ready, compose
from geodiag.figures.registry import figure
from geodiag.signals.catalog import label

__all__ = ["fig17_family_profile", "fig18_top_layers_by_method"]

PROFILE, SHARES = "table17_family_summary", "table18_top_layer_families"
SHARES_BY_METHOD = "fig18_top_layer_families_by_method_in_text"

RANKING_COLORS = {
    "top_geometry_conflict": signal_color("active_conflict"),
    "top_negative_gradient": signal_color("neg_grad_ratio"),
}
"""The two rankings of layers, with their colours."""
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


@figure("Profile of projection families", tables=(PROFILE,))
def fig17_family_profile(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Alignment, conflict and gradients of each projection family."""
    return compose(data, [[Panel("Profile", profile_bars())]], axes)


@figure("Top layers by method", tables=(SHARES_BY_METHOD,))
def fig18_top_layers_by_method(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Which families the layers that stand out belong to, method by method."""
    row = [
        Panel(label("top_geometry_conflict"), family_share_panel("top_geometry_conflict", bar=False)),
        Panel(label("top_negative_gradient"), family_share_panel("top_negative_gradient")),
    ]
    return compose(data, [row], axes)


def top_layer_bars(*, height: float = 1.9) -> Prepare:
    """Families' shares among the layers that stand out at a step, in both rankings."""

    def prepare(tables: Tables) -> list[Ready]:
        frame = need(tables.get(SHARES), ("ranking",), name=SHARES)
        families = [name for name in FAMILIES if name in frame.columns]
        tidy = frame.unpivot(on=families, index="ranking", variable_name="family", value_name="share")
        styles = {name: Series(label(name), RANKING_COLORS.get(name, "#7F7F7F")) for name in unique(frame, "ranking")}

        drawn = Estimates(
            *(tidy, "family", "ranking", styles),
            value="share",
            interval=None,
            name=family_label,
            unit="Share of top layers",
        )

        def draw(ax: Axes) -> None:
            draw_bars(ax, drawn)
            bar_legend(ax, styles)
            text = (
                "Families' shares among the layers with most geometry conflict, and most negative gradient, at a step"
            )
            describe(ax, text, table=SHARES, frame=frame, drawn=tidy, n=tables.count("step"), runs=tables.runs)

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
        names = [name for name in _PROFILE_COLORS if has_values(frame, name)]
        if not names:
            raise NothingToDraw(f"{PROFILE} has no value")
        return [_profile_ready(frame, name, tables) for name in names]

    return prepare


def _profile_ready(frame: pl.DataFrame, name: str, tables: Tables) -> Ready:
    styles = dict.fromkeys(frame["family"].to_list(), Series("", _PROFILE_COLORS[name]))

    drawn = Estimates(
        *(frame, "family", "family", styles),
        value=name,
        interval=None,
        dodge=False,
        name=family_label,
        unit=_PROFILE_UNITS[name],
    )

    def draw(ax: Axes) -> None:
        draw_bars(ax, drawn, turn=True)
        ax.set_title(label(name))
        text = f"{label(name)} of each projection family over all runs, steps and pairs"
        describe(ax, text, table=PROFILE, frame=frame, runs=tables.runs)

    return Ready(draw, 1.7)
