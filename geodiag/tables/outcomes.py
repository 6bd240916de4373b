"""Tables 20 and 21: final outcomes of every size and method."""

from __future__ import annotations

import polars as pl

from geodiag.tables.format import number_text
from geodiag.tables.inputs import Inputs
from geodiag.tables.options import ORDERS
from geodiag.tables.table import AnalysisTable


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
