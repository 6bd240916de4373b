"""Pairs of a step's new task and an old task, in the paper's format."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from geodiag.tables.inputs import Inputs
from geodiag.tables.labels import task_label
from geodiag.tables.options import ORDERS
from geodiag.tables.steps import INTERVAL, free_p, interval_columns

PAIR_RELATIONS = {
    "sar_vs_conflict": ("mean_sar", "mean_conflict"),
    "conflict_vs_immediate_change": ("mean_conflict", "drop"),
    "conflict_vs_forgetting_from_best": ("mean_conflict", "forgetting"),
}
"""The relations of table 6."""
GROUPED = {
    "sar_gc": ("mean_sar", "mean_conflict"),
    "sar_drop": ("mean_sar", "drop"),
    "gc_drop": ("mean_conflict", "drop"),
    "gc_forget": ("mean_conflict", "forgetting"),
}
"""The relations of tables 11, 13 and 14."""
_SIGNALS, _TARGETS = ("mean_sar", "mean_conflict"), ("mean_conflict", "drop", "forgetting")


def pair_confidence(inputs: Inputs) -> pl.DataFrame:
    """Table 6: alignment, conflict and what became of the old task, over all pairs."""
    grid = inputs.pairs.correlate(_SIGNALS, _TARGETS, settings=inputs.options.paper)
    least = inputs.options.least_runs_paper
    rows = []
    for relation, (signal, target) in PAIR_RELATIONS.items():
        cell = grid.cell(signal, target)
        rows.append(
            {"relation": relation, **interval_columns(cell), "p_perm": free_p(cell, least=least), "n": cell.rows}
        )
    return pl.DataFrame(rows, schema={"relation": pl.String, **INTERVAL, "p_perm": pl.Float64, "n": pl.Int64})


def pairs_by(by: str) -> Callable[[Inputs], pl.DataFrame]:
    """Tables 13 and 14: the same within each method, or each size. n counts the pairs that were compared."""

    def build(inputs: Inputs) -> pl.DataFrame:
        groups = inputs.pairs.groups(by)
        grid = inputs.pairs.correlate(_SIGNALS, _TARGETS, groups=groups, settings=inputs.options.estimates)
        rows = [
            {by: name, **{r: grid.cell(s, t, group=name).estimate for r, (s, t) in GROUPED.items()}} for name in groups
        ]
        found = pl.DataFrame(rows, schema={by: pl.String, **dict.fromkeys(GROUPED, pl.Float64)})
        medians = inputs.pairs.frame.group_by(by).agg(
            n=pl.col("mean_conflict").count().cast(pl.Int64),
            median_sar=pl.col("mean_sar").median(),
            median_gc=pl.col("mean_conflict").median(),
        )
        found = found.join(medians, on=by, how="left", maintain_order="left")
        return found.select(by, "n", *GROUPED, "median_sar", "median_gc")

    return build


def pair_estimates_by_method(inputs: Inputs) -> pl.DataFrame:
    """Table 11: the correlations of table 13 alone."""
    return pairs_by("method")(inputs).select("method", *GROUPED)


def harmful_transitions(inputs: Inputs) -> pl.DataFrame:
    """Table 16: the steps at which an old task lost most at once."""
    lost = inputs.pairs.frame.filter(pl.col("drop") < 0)
    worst = lost.sort("drop", "forgetting", "run", "step", "age", nulls_last=True).head(inputs.options.transitions)
    tasks = pl.col("new_task", "old_task").map_elements(task_label, return_dtype=pl.String)
    return worst.select(
        *("size", "method", pl.col("step").cast(pl.Int64)),
        tasks,
        *("drop", "forgetting"),
        sar="mean_sar",
        geometry_conflict="mean_conflict",
        grad_cos="mean_grad_cos",
    )


def final_performance(inputs: Inputs) -> pl.DataFrame:
    """Table 21: every size and method after the last step, averaged over its runs."""
    names = {"overall": "final_overall", "old_mean": "old_mean", "forgetting": "forgetting", "current": "current"}
    found = inputs.outcomes.group_by("size", "method").agg(**{n: pl.col(c).mean() for n, c in names.items()})
    places = [
        pl.col(by).replace_strict(order := ORDERS[by](found[by]), range(len(order)), return_dtype=pl.Int64)
        for by in ("size", "method")
    ]
    return found.sort(places).select("size", "method", *names)


def final_overall(inputs: Inputs) -> pl.DataFrame:
    """Table 20: overall score and forgetting of table 21 alone."""
    return final_performance(inputs).select("size", "method", "overall", "forgetting")
