"""The rows of a store, for comparing stores."""

from __future__ import annotations

import polars as pl

from geodiag.store import StoreReader

TABLES = ("layers", "updates", "pairs", "unions", "active", "scores")


def all_rows(store):
    """Every row of every table, in one order."""
    reader = StoreReader(store)
    return {name: reader.scan(name).collect().sort(pl.all().exclude(pl.List(pl.Float64))) for name in TABLES}


def same_rows(store, other):
    """Whether two stores hold exactly the same rows, digit by digit."""
    one, two = all_rows(store), all_rows(other)
    return all(one[name].equals(two[name]) for name in TABLES)
