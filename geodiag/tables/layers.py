"""Projection families: what is typical of each, and which of them the outstanding layers belong to."""

from __future__ import annotations

import polars as pl

from geodiag.common.families import FAMILIES
from geodiag.signals import LAYER_RANKINGS
from geodiag.tables.inputs import Inputs
from geodiag.tables.options import order_methods


def family_summary(inputs: Inputs) -> pl.DataFrame:
    """Table 17: alignment, conflict and gradients of each family over all steps."""
    found = inputs.families.group_by("family").agg(
        median_sar=pl.col("active_sar").median(),
        mean_gc=pl.col("active_conflict").mean(),
        mean_grad_cos=pl.col("mean_grad_cos").mean(),
        neg_grad_ratio=pl.col("neg_grad_ratio").mean(),
    )
    present = [family for family in FAMILIES if family in found["family"]]
    return pl.DataFrame({"family": present}, schema={"family": pl.String}).join(
        found, on="family", how="left", maintain_order="left"
    )


def top_families(inputs: Inputs) -> pl.DataFrame:
    """Table 18: the share of each family among the layers that stand out; null for families without layers."""
    shares = _shares(inputs).pivot("family", index="ranking", values="share")
    shares = shares.with_columns(pl.lit(None, pl.Float64).alias(f) for f in FAMILIES if f not in shares.columns)
    names = pl.DataFrame({"ranking": [r.name for r in LAYER_RANKINGS]})
    found = names.join(shares, on="ranking", how="semi").join(shares, on="ranking", maintain_order="left")
    held = set(inputs.families["family"])
    return found.select("ranking", *(pl.col(f).fill_null(0.0) if f in held else pl.col(f) for f in FAMILIES))


def top_families_by_method(inputs: Inputs) -> pl.DataFrame:
    """Figure 18: the same within each method, a row for every family that the store has layers of."""
    shares = _shares(inputs, "method")
    families = pl.DataFrame({"family": [f for f in FAMILIES if f in set(inputs.families["family"])]})
    ranked = shares.select("ranking", "method").unique().join(families, how="cross")
    found = ranked.join(shares, on=["ranking", "method", "family"], how="left").with_columns(
        pl.col("share").fill_null(0.0)
    )
    places = [
        pl.col(name).replace_strict(order, range(len(order)), return_dtype=pl.Int64)
        for name, order in (
            ("ranking", [r.name for r in LAYER_RANKINGS]),
            ("method", order_methods(shares["method"])),
            ("family", list(FAMILIES)),
        )
    ]
    return found.sort(places).select("ranking", "method", "family", "share")


def _shares(inputs: Inputs, *by: str) -> pl.DataFrame:
    """Shares of families in each ranking: a layer counts by its weight, a step as much as any other."""
    group = ["ranking", *by]
    weights = inputs.top.group_by(*group, "family").agg(pl.col("weight").sum())
    return weights.with_columns(share=pl.col("weight") / pl.col("weight").sum().over(group)).drop("weight")
