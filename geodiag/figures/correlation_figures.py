"""The figures whose every panel is a table of correlations."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl
from matplotlib.axes import Axes

from geodiag.figures.correlation_maps import RELATIONS, STEP_SIGNALS, Map, correlation_map, correlation_rows, map_ready
from geodiag.figures.correlations import grouped_forest, signal_bars, signal_forest, unique
from geodiag.figures.data import Data, Tables, as_tables, need
from geodiag.figures.panels import Panel, Prepare, Ready, compose
from geodiag.figures.relations import relation_forest, target_forest
from geodiag.figures.theme import ONE_AND_HALF, themed

GLOBAL, BY_SIZE, BY_METHOD = "table03_global_step_confidence", "table04_scale_confidence", "table05_method_confidence"
METHOD_MAP = "table09_method_step_correlations"
PAIRS_BY_METHOD, PAIRS_BY_SIZE = "table13_pairwise_by_method", "table14_pairwise_by_scale"
OUTCOMES_BY_METHOD, OUTCOMES = "fig12_method_correlation_heatmaps", "fig13_step_explanation_heatmap"

ACROSS = 2
"""Methods side by side where each has a heatmap with intervals."""
WITH_FORGETTING = "Rank correlations of steps' signals with forgetting, which is negative where scores were lost"


@themed
def fig02_global_and_method(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Which signals go with forgetting: strengths over all runs, and signed correlations method by method."""
    bars = Panel("All runs", signal_bars(GLOBAL, about=WITH_FORGETTING))
    spec = Map(
        *(METHOD_MAP, "method", "signal", f"{WITH_FORGETTING}, by method"),
        by="method",
        target="forgetting",
        baseline=True,
        wide=STEP_SIGNALS,
    )
    return compose(as_tables(data, name=GLOBAL), [[bars], [Panel("By method", correlation_map(spec))]], axes)


@themed
def fig05_intervals(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Every headline correlation with its interval: over all runs, by size, of pairs, against gradients."""
    rows = [
        [
            Panel("Steps, all runs", signal_forest(GLOBAL, about=WITH_FORGETTING)),
            Panel("Pairs, all runs", relation_forest()),
        ],
        [
            Panel("Steps, by size", grouped_forest(BY_SIZE, "size", about=f"{WITH_FORGETTING}, by size")),
            Panel("Geometry against gradients", target_forest()),
        ],
    ]
    return compose(as_tables(data, name=GLOBAL), rows, axes)


@themed
def fig08_step_correlations(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Steps' signals against forgetting, by size and by method."""
    by_size = grouped_forest(BY_SIZE, "size", about=f"{WITH_FORGETTING}, by size", legend=False)
    by_method = grouped_forest(BY_METHOD, "method", about=f"{WITH_FORGETTING}, by method")
    row = [Panel("By size", by_size), Panel("By method", by_method, width=1.3)]
    return compose(as_tables(data, name=BY_SIZE), [row], axes)


@themed
def fig09_pair_correlations(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Pairs of a new and an old task: alignment, conflict and what became of the old one, by size and method."""
    about = "Rank correlations over pairs of a new and an old task"
    by_size, by_method = (
        Map(table, by, "relation", f"{about}, by {by}", level="pair", by=by, wide=RELATIONS)
        for table, by in ((PAIRS_BY_SIZE, "size"), (PAIRS_BY_METHOD, "method"))
    )
    row = [Panel("By size", correlation_map(by_size, bar=False)), Panel("By method", correlation_map(by_method))]
    return compose(as_tables(data, name=PAIRS_BY_METHOD), [row], axes)


@themed
def fig12_outcomes_by_method(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Steps' signals against each outcome, method by method."""
    about = "Rank correlations of steps' signals with their outcomes"
    spec = Map(OUTCOMES_BY_METHOD, "signal", "target", about, by="method", baseline=True)
    tables = as_tables(data, name=OUTCOMES_BY_METHOD)
    methods = unique(need(tables.get(spec.table), ("method",), name=spec.table), "method")
    panels = [Panel(method, _method_map(spec, method, place=k, of=len(methods))) for k, method in enumerate(methods)]
    rows = [panels[k : k + ACROSS] for k in range(0, len(panels), ACROSS)]
    return compose(tables, rows, axes, aligned=True)


@themed
def fig13_outcomes(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Steps' signals against each outcome, over all runs."""
    about = "Rank correlations of steps' signals with their outcomes, all runs"
    spec = Map(OUTCOMES, "signal", "target", about, by="all", baseline=True)
    row = [Panel("All runs", correlation_map(spec))]
    return compose(as_tables(data, name=OUTCOMES), [row], axes, width=ONE_AND_HALF)


def _method_map(spec: Map, method: str, *, place: int, of: int) -> Prepare:
    """The heatmap of one method; those at the left have labels, those at the right a colour bar."""
    left, right = place % ACROSS == 0, place % ACROSS == ACROSS - 1 or of == 1

    def prepare(tables: Tables) -> list[Ready]:
        frame = correlation_rows(spec, tables).filter(pl.col("method") == method)
        return [map_ready(spec, frame, tables, title=method, bar=right, names=left)]

    return prepare
