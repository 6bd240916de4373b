"""Squared norms of updates, and their shares by family, block and layer."""

from __future__ import annotations

import polars as pl

from geodiag.store import StoreReader


def squared_norms(store: StoreReader) -> pl.DataFrame:
    """(run, step, source, layer, block, family, energy) of every update.

    The source is `step` for ||theta_t - theta_{t-1}||_F^2, and `task` for ||D||_F^2 of the new task's update.
    """
    place = ("run", "step", "layer", "block", "family")
    rows = store.scan("updates")
    state = pl.col("object") == "state"
    step = rows.filter(state).select(*place, source=pl.lit("step"), energy=pl.col("increment_norm") ** 2)
    task = rows.filter(~state).select(*place, source=pl.lit("task"), energy=pl.col("norm") ** 2)
    return pl.concat([step, task]).collect()


def share_out(norms: pl.DataFrame, level: str, source: str) -> pl.DataFrame:
    """Shares of each step's squared norm: (run, step, <level>, energy, share), sorted.

    A step whose squared norm is 0, or not known in every layer, has no rows.

    Args:
        norms: `squared_norms` of a store.
        level: `family`, `block` or `layer`.
        source: `step` or `task`.
    """
    key = ["run", "step"]
    rows = norms.filter(pl.col("source") == source)
    # Smallest first, so that the sum does not depend on the order of the rows in the store.
    energy = pl.col("energy").sort(nulls_last=False).sum()
    parts = rows.group_by(*key, level).agg(energy=energy, unknown=pl.col("energy").is_null().any())
    total = pl.col("energy").sum().over(key)
    known = ~pl.col("unknown").any().over(key) & (total > 0)
    return parts.sort(*key, level).filter(known).with_columns(share=pl.col("energy") / total).drop("unknown")
