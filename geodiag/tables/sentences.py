"""One sentence on the rows of each table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from geodiag.tables.format import DASH, interval_text, number_text
from geodiag.tables.labels import in_text, table_label


def closest_signal(frame: pl.DataFrame) -> str:
    """The strongest correlation of a table of signals."""
    row = _strongest(frame)
    if row is None:
        return ""
    name = table_label(str(row.get("signal", row.get("relation"))))
    return f"{name} is the closest, at ρ = {number_text(row['spearman'])}."


def closest_by(by: str) -> Callable[[pl.DataFrame], str]:
    """The strongest correlation of each group."""

    def shows(frame: pl.DataFrame) -> str:
        rows = [_strongest(group) for group in frame.partition_by(by, maintain_order=True)]
        told = [f"{table_label(str(r['signal']))} in {r[by]} ({number_text(r['spearman'])})" for r in rows if r]
        return f"The closest signals: {', '.join(told)}." if told else ""

    return shows


def rank_of(baseline: str) -> Callable[[pl.DataFrame], str]:
    """Where a baseline stands in each ranking."""

    def shows(frame: pl.DataFrame) -> str:
        told = []
        for group in frame.drop_nulls("spearman").partition_by("target", maintain_order=True):
            names = group["predictor"].to_list()
            if baseline in names:
                told.append(f"{names.index(baseline) + 1} of {len(names)} for {in_text(str(group['target'][0]))}")
        return f"{baseline}, with no look at the weights, ranks {', '.join(told)}." if told else ""

    return shows


def worst_step(frame: pl.DataFrame) -> str:
    """Whether the worst transitions are one event."""
    if frame.is_empty():
        return "No old task lost anything from one step to the next."
    steps = frame.group_by("size", "method", "step", "new_task").len().sort("len", "size", "method", "step").row(-1)
    size, method, step, task, count = steps
    return f"{count} of the {frame.height} belong to one step: {task}, step {step} of {method} at {size}."


def highest(column: str, name: str, *, by: str) -> Callable[[pl.DataFrame], str]:
    """The row where a column is highest."""

    def shows(frame: pl.DataFrame) -> str:
        known = frame.drop_nulls(column)
        if known.is_empty():
            return ""
        row = known.row(known[column].arg_max() or 0, named=True)
        return f"{name} is highest for {row[by]}, at {number_text(row[column])}."

    return shows


def largest_share(frame: pl.DataFrame) -> str:
    """The family with the largest share in each ranking."""
    told = []
    for row in frame.iter_rows(named=True):
        shares = {name: value for name, value in row.items() if name != "ranking" and value is not None}
        family = max(shares, key=lambda name: shares[name])
        told.append(f"{family} ({number_text(shares[family])}) for {in_text(str(row['ranking']))}")
    return f"The largest shares: {', '.join(told)}." if told else ""


def most_forgotten(frame: pl.DataFrame) -> str:
    """Which size and method ended with the most forgetting."""
    known = frame.drop_nulls("forgetting")
    if known.is_empty():
        return ""
    row = known.row(known["forgetting"].arg_min() or 0, named=True)
    return f"Most was lost by {row['method']} at {row['size']}, {number_text(row['forgetting'], 3)} on average."


def verdicts(frame: pl.DataFrame) -> str:
    """How many signals have each verdict for forgetting."""
    counts = frame.filter(pl.col("target") == "forgetting")["verdict"].value_counts(sort=True).rows()
    return "For forgetting: " + ", ".join(f"{count} × {verdict}" for verdict, count in counts) + "."


def confounded(frame: pl.DataFrame) -> str:
    """How many signals go with forgetting over all rows, and how many at a fixed step or inside runs."""
    rows = frame.filter(pl.col("target") == "forgetting", pl.col("kind") != "baseline")
    clear = rows.filter((pl.col("low") > 0) | (pl.col("high") < 0))["correlation"].to_list()
    if rows["low"].count() == 0:
        return ""
    pooled = rows.filter(pl.col("correlation") == "pooled")["rho"].count()
    return (
        f"Of {pooled} signals measured, {clear.count('pooled')} have an interval that leaves out 0 when all rows are "
        f"pooled, {clear.count('step_partial')} at a fixed step and {clear.count('within')} inside runs."
    )


def gap_against_step(frame: pl.DataFrame) -> str:
    """Whether the global gap beats the step index."""
    row = frame.row(by_predicate=(pl.col("signal") == "global_gap") & (pl.col("other") == "step"), named=True)
    if row["difference"] is None:
        return ""
    bounds = interval_text(row["low"], row["high"])
    return (
        f"|ρ| of the global gap minus |ρ| of the step index is {number_text(row['difference'])}"
        f"{' ' + bounds if bounds != DASH else ''}."
    )


def _strongest(frame: pl.DataFrame) -> dict[str, Any] | None:
    known = frame.drop_nulls("spearman")
    return None if known.is_empty() else known.row(known["spearman"].abs().arg_max() or 0, named=True)
