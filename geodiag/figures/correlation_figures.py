"""The figures whose every panel is a table of correlations."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes

from geodiag.figures.correlation_maps import RELATIONS, STEP_SIGNALS, Map, correlation_map, correlation_maps
from geodiag.figures.correlations import grouped_forest, signal_bars, signal_forest
from geodiag.figures.data import Data, as_tables
from geodiag.figures.panels import Panel, compose
from geodiag.figures.relations import relation_forest, target_forest
from geodiag.figures.theme import ONE_COLUMN, themed

GLOBAL, BY_SIZE, BY_METHOD = "table03_global_step_confidence", "table04_scale_confidence", "table05_method_confidence"
METHOD_MAP = "table09_method_step_correlations"
PAIRS_BY_METHOD, PAIRS_BY_SIZE = "table13_pairwise_by_method", "table14_pairwise_by_scale"
OUTCOMES_BY_METHOD, OUTCOMES = "fig12_method_correlation_heatmaps", "fig13_step_explanation_heatmap"

WITH_FORGETTING = "Rank correlations of steps' signals with forgetting, which is negative where scores were lost"


@themed
def fig02_global_and_method(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Which signals go with forgetting: strengths over all runs, and signed correlations method by method."""
    bars = Panel("All runs", signal_bars(GLOBAL, about=WITH_FORGETTING), width=0.8)
    spec = Map(METHOD_MAP, "method", "signal", f"{WITH_FORGETTING}, by method", wide=STEP_SIGNALS)
    return compose(as_tables(data, name=GLOBAL), [[bars, Panel("By method", correlation_map(spec))]], axes)


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
    by_size = Map(PAIRS_BY_SIZE, "size", "relation", f"{about}, by size", level="pair", wide=RELATIONS)
    by_method = Map(PAIRS_BY_METHOD, "method", "relation", f"{about}, by method", level="pair", wide=RELATIONS)
    row = [Panel("By size", correlation_map(by_size)), Panel("By method", correlation_map(by_method))]
    return compose(as_tables(data, name=PAIRS_BY_METHOD), [row], axes)


@themed
def fig12_outcomes_by_method(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Steps' signals against each outcome, method by method."""
    spec = Map(OUTCOMES_BY_METHOD, "signal", "target", "Rank correlations of steps' signals with their outcomes")
    panel = Panel("Correlations with outcomes", correlation_maps(spec, by="method"))
    return compose(as_tables(data, name=OUTCOMES_BY_METHOD), [[panel]], axes)


@themed
def fig13_outcomes(data: Data, *, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Steps' signals against each outcome, over all runs."""
    spec = Map(
        OUTCOMES, "signal", "target", "Rank correlations of steps' signals with their outcomes, all runs", baseline=True
    )
    return compose(as_tables(data, name=OUTCOMES), [[Panel("All runs", correlation_map(spec))]], axes, width=ONE_COLUMN)
