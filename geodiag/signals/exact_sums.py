"""Sums and means that do not depend on the order of rows."""

from __future__ import annotations

import polars as pl

_ONE = 2.0**60
"""Fixed-point unit. A float64 of 2**-8 or more is a whole number of 2**-60, and an Int128 holds 2**67 terms."""

DECIMALS = 12
"""Decimals kept of numbers computed from scores: scores have few, and so have their exact differences."""


def exact_sum(value: pl.Expr) -> pl.Expr:
    """The sum of values between -1 and 1, as a whole number of 2**-60."""
    return (value * _ONE).round().cast(pl.Int128).sum()


def from_exact(total: pl.Expr) -> pl.Expr:
    """What `exact_sum` gives, or a sum of such, as a float."""
    return total.cast(pl.Float64) / _ONE


def exact_mean(value: pl.Expr) -> pl.Expr:
    """The mean of values between -1 and 1 that are not null; null where all are."""
    return mean_of(exact_sum(value), value.count())


def mean_of(total: pl.Expr, count: pl.Expr) -> pl.Expr:
    """The mean from an `exact_sum` and a count; null where the count is 0."""
    return pl.when(count > 0).then(from_exact(total) / count)


def ordered_sum(value: pl.Expr) -> pl.Expr:
    """The sum of values of any size, added from the smallest up; null where all are null. Slow for many groups."""
    return value.sort(nulls_last=False).cum_sum().last()


def as_decimal(value: pl.Expr) -> pl.Expr:
    """A number computed from scores, rounded to `DECIMALS` so that equal changes of different scores are equal."""
    return value.round(DECIMALS) + 0.0
