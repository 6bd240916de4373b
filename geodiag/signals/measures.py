"""What is aggregated, as data, and how aggregates of layers combine to those of families and steps.

Each measure is first reduced within a layer to partial results (a sum and a count, a minimum, ...) that can
be combined. The many raw rows are read once; families and steps are combined from the few layer rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from geodiag.signals.exact import exact_sum, mean_of, ordered_sum


@dataclass(frozen=True)
class Measure:
    """One aggregated column."""

    name: str
    """The column it gives."""
    source: str
    """Which raw rows it is over, a name in `SOURCES`."""
    value: pl.Expr
    """The value of a raw row; null where the row does not take part."""
    how: Aggregate
    """How values become one."""


@dataclass(frozen=True)
class Aggregate:
    """A reduction in two stages."""

    parts: Callable[[pl.Expr], dict[str, pl.Expr]]
    """Raw values to named partial results."""
    merge: Callable[[str], pl.Expr]
    """How a column of several layers' partial results becomes one of all of them."""
    finish: Callable[[dict[str, pl.Expr]], pl.Expr]
    """Partial results to the value."""


def _complete(value: pl.Expr, p: dict[str, pl.Expr]) -> pl.Expr:
    # A sum over some of the layers is not the sum over all, so one unknown layer leaves it unknown.
    return pl.when((p["rows"] > 0) & (p["n"] == p["rows"])).then(value)


def _total(value: pl.Expr) -> dict[str, pl.Expr]:
    # Its sources have one row a layer, so that a layer's own sum has one term and any order will do.
    return {"sum": value.sum(), "n": value.count(), "rows": value.len()}


MEAN = Aggregate(
    parts=lambda v: {"sum": exact_sum(v), "n": v.count()},
    merge=lambda name: pl.col(name).sum(),
    finish=lambda p: mean_of(p["sum"], p["n"]),
)
"""The mean of the values that are not null; they must lie in -1..1."""
LOWEST = Aggregate(lambda v: {"min": v.min()}, lambda name: pl.col(name).min(), lambda p: p["min"])
"""The smallest value."""
HIGHEST = Aggregate(lambda v: {"max": v.max()}, lambda name: pl.col(name).max(), lambda p: p["max"])
"""The largest value."""
TOTAL = Aggregate(_total, lambda name: ordered_sum(pl.col(name)), lambda p: _complete(p["sum"], p))
"""The sum over layers; null where a layer's value is."""
LENGTH = Aggregate(
    parts=lambda v: _total(v**2),
    merge=lambda name: ordered_sum(pl.col(name)),
    finish=lambda p: _complete(p["sum"].sqrt(), p),
)
"""The square root of the sum of squares over layers; null where a layer's value is."""


def _kind(kind: str, column: str) -> pl.Expr:
    return pl.when(pl.col("kind") == kind).then(pl.col(column))


def _share(condition: pl.Expr) -> pl.Expr:
    return condition.cast(pl.Float64)


MEASURES: tuple[Measure, ...] = (
    Measure("update_norm", "states", pl.col("increment_norm"), LENGTH),
    Measure("update_norm_sum", "states", pl.col("increment_norm"), TOTAL),
    Measure("state_norm", "states", pl.col("norm"), LENGTH),
    Measure("state_norm_sum", "states", pl.col("norm"), TOTAL),
    Measure("active_sar", "pairs", _kind("active", "sar"), MEAN),
    Measure("active_conflict", "pairs", _kind("active", "conflict"), MEAN),
    Measure("state_sar", "pairs", _kind("state", "sar"), MEAN),
    Measure("state_conflict", "pairs", _kind("state", "conflict"), MEAN),
    Measure("global_active_conflict", "pairs", _kind("active", "in_active"), MEAN),
    Measure("global_state_conflict", "pairs", pl.col("in_state"), MEAN),
    Measure("mean_grad_cos", "gradients", pl.col("cos"), MEAN),
    Measure("min_grad_cos", "gradients", pl.col("cos"), LOWEST),
    Measure("neg_grad_ratio", "gradients", _share(pl.col("cos") < 0), MEAN),
    Measure("lambda_share_mean", "pairs", pl.col("lambda_share"), MEAN),
    Measure("lambda_share_max", "pairs", pl.col("lambda_share"), HIGHEST),
    Measure("undefined_share", "pairs", _share(pl.col("conflict").is_null()), MEAN),
    Measure("floor_share", "updates", _share(pl.col("norm") <= pl.col("rounding_floor")), MEAN),
    Measure("energy_kept", "updates", pl.col("energy_kept"), MEAN),
    Measure("grad_reliability", "gradients", pl.mean_horizontal("reliability_i", "reliability_j"), MEAN),
)
"""Every aggregated column, in no particular order."""

GAPS: dict[str, tuple[str, str]] = {
    "state_gap": ("state_conflict", "active_conflict"),
    "global_gap": ("global_state_conflict", "global_active_conflict"),
}
"""Columns that are the difference of two measures."""
