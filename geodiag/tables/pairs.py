"""Tables of pairs of tasks, and of where runs ended."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from geodiag.signals.catalog import PAIR_RELATIONS, PUBLISHED_COLUMNS
from geodiag.tables.format import highest, number_text
from geodiag.tables.inputs import Inputs
from geodiag.tables.options import ORDERS
from geodiag.tables.steps import INTERVAL, closest_signal, free_p, interval_columns
from geodiag.tables.table import AnalysisTable

CONFIDENCE_RELATIONS = ("sar_vs_conflict", "conflict_vs_immediate_change", "conflict_vs_forgetting_from_best")
"""The relations of table 6, by the paper's names."""
_SIGNALS, _TARGETS = ("mean_sar", "mean_conflict"), ("mean_conflict", "drop", "forgetting")


def pair_confidence(inputs: Inputs) -> pl.DataFrame:
    """Table 6: alignment, conflict and the old task's change, over all pairs."""
    grid = inputs.pairs.correlate(_SIGNALS, _TARGETS, settings=inputs.options.paper)
    least = inputs.options.least_runs_paper
    rows = []
    for relation in CONFIDENCE_RELATIONS:
        cell = grid.cell(*PAIR_RELATIONS[PUBLISHED_COLUMNS[relation]])
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
            {by: name, **{r: grid.cell(*ends, group=name).estimate for r, ends in PAIR_RELATIONS.items()}}
            for name in groups
        ]
        frame = pl.DataFrame(rows, schema={by: pl.String, **dict.fromkeys(PAIR_RELATIONS, pl.Float64)})
        medians = inputs.pair_frame.group_by(by).agg(
            n=pl.col("mean_conflict").count().cast(pl.Int64),
            median_sar=pl.col("mean_sar").median(),
            median_gc=pl.col("mean_conflict").median(),
        )
        frame = frame.join(medians, on=by, how="left", maintain_order="left")
        return frame.select(by, "n", *PAIR_RELATIONS, "median_sar", "median_gc")

    return build


def pair_estimates_by_method(inputs: Inputs) -> pl.DataFrame:
    """Table 11: the correlations of table 13 alone."""
    return pairs_by("method")(inputs).select("method", *PAIR_RELATIONS)


def harmful_transitions(inputs: Inputs) -> pl.DataFrame:
    """Table 16: the steps at which an old task lost most at once."""
    lost = inputs.pair_frame.filter(pl.col("drop") < 0)
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


def task_label(task: str) -> str:
    """A folded task name as the paper's table prints it: `computer_science` is "Computer Science"."""
    return task.replace("_", " ").title()


def worst_step(frame: pl.DataFrame) -> str:
    """A sentence on the step that most of the worst transitions belong to."""
    if frame.is_empty():
        return "No old task lost anything from one step to the next."
    steps = frame.group_by("size", "method", "step", "new_task").len().sort("len", "size", "method", "step").row(-1)
    size, method, step, task, count = steps
    return f"{count} of the {frame.height} belong to one step: {task}, step {step} of {method} at {size}."


PAIR_TABLES: tuple[AnalysisTable, ...] = (
    AnalysisTable(
        "table06_pairwise_confidence",
        "Table 6: alignment and conflict of pairs",
        "Over all pairs of a new and an old task, does conflict go with what the old task lost?",
        "A step has as many pairs as old tasks, all sharing the new one: n is far from the number of independent "
        "observations, and the paper's p-value takes it for that.",
        ("pairs",),
        pair_confidence,
        key=("relation",),
        shows=closest_signal,
    ),
    AnalysisTable(
        "table11_pairwise_estimates_by_method",
        "Table 11: the correlations of table 13 alone",
        "The same correlations at one glance.",
        "See table 13.",
        ("pairs",),
        pair_estimates_by_method,
    ),
    AnalysisTable(
        "table13_pairwise_by_method",
        "Table 13: pairs by method",
        "Does what holds of pairs depend on the method?",
        "Point estimates; `intervals` has their intervals. n counts pairs, not independent observations.",
        ("pairs",),
        pairs_by("method"),
        key=("method",),
        shows=highest("median_gc", "Median conflict", by="method"),
    ),
    AnalysisTable(
        "table14_pairwise_by_scale",
        "Table 14: pairs by model size",
        "Does what holds of pairs depend on the size?",
        "As for table 13.",
        ("pairs",),
        pairs_by("size"),
        key=("size",),
        shows=highest("median_gc", "Median conflict", by="size"),
    ),
    AnalysisTable(
        "table16_harmful_transitions",
        "Table 16: the most harmful transitions",
        "At which steps did an old task lose most at once, and what did the two updates look like?",
        "The worst of many: such a list is dominated by single events and by noisy scores of small test sets.",
        ("forgetting",),
        harmful_transitions,
        key=("size", "method", "step", "new_task", "old_task"),
        shows=worst_step,
    ),
)
"""Correlations and transitions of pairs."""


def final_performance(inputs: Inputs) -> pl.DataFrame:
    """Table 21: every size and method after the last step, averaged over its runs."""
    names = {"overall": "final_overall", "old_mean": "old_mean", "forgetting": "forgetting", "current": "current"}
    means = inputs.outcomes.group_by("size", "method").agg(**{n: pl.col(c).mean() for n, c in names.items()})
    places = [
        pl.col(by).replace_strict(order := ORDERS[by](means[by]), range(len(order)), return_dtype=pl.Int64)
        for by in ("size", "method")
    ]
    return means.sort(places).select("size", "method", *names)


def final_overall(inputs: Inputs) -> pl.DataFrame:
    """Table 20: overall score and forgetting of table 21 alone."""
    return final_performance(inputs).select("size", "method", "overall", "forgetting")


def most_forgotten(frame: pl.DataFrame) -> str:
    """A sentence on the size and method that ended with the most forgetting."""
    defined = frame.drop_nulls("forgetting")
    if defined.is_empty():
        return ""
    row = defined.row(defined["forgetting"].arg_min() or 0, named=True)
    return f"Most was lost by {row['method']} at {row['size']}, {number_text(row['forgetting'], 3)} on average."


OUTCOME_TABLES: tuple[AnalysisTable, ...] = (
    AnalysisTable(
        "table20_final_overall",
        "Table 20: final overall score and forgetting",
        "Where did each size and method end?",
        "Where several runs share size and method, their mean stands here without its spread.",
        ("scores",),
        final_overall,
        shows=most_forgotten,
    ),
    AnalysisTable(
        "table21_final_performance",
        "Table 21: final performance",
        "How well does the last model of each run solve all tasks, the old ones and the last one?",
        "As for table 20. The last task's score depends on which task was last.",
        ("scores",),
        final_performance,
        key=("size", "method"),
        shows=most_forgotten,
    ),
)
"""Outcomes of whole runs."""
