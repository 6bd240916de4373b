"""Tables 17, 18 and figure 18: signals of projection families, and the families of the layers ranked first."""

from __future__ import annotations

import polars as pl

from geodiag.common.schema import FAMILIES
from geodiag.signals import LAYER_RANKINGS
from geodiag.signals.labels import in_text
from geodiag.tables.format import highest, number_text
from geodiag.tables.inputs import Inputs
from geodiag.tables.options import order_methods
from geodiag.tables.table import AnalysisTable, pivoted


def family_summary(inputs: Inputs) -> pl.DataFrame:
    """Table 17: alignment, conflict and gradients of each family over all steps."""
    means = inputs.families.group_by("family").agg(
        median_sar=pl.col("active_sar").median(),
        mean_gc=pl.col("active_conflict").mean(),
        mean_grad_cos=pl.col("mean_grad_cos").mean(),
        neg_grad_ratio=pl.col("neg_grad_ratio").mean(),
    )
    present = [family for family in FAMILIES if family in means["family"]]
    return pl.DataFrame({"family": present}, schema={"family": pl.String}).join(
        means, on="family", how="left", maintain_order="left"
    )


def top_families(inputs: Inputs) -> pl.DataFrame:
    """Table 18: the share of each family among the layers ranked first; null for families without layers."""
    shares = _shares(inputs).pivot("family", index="ranking", values="share")
    shares = shares.with_columns(pl.lit(None, pl.Float64).alias(f) for f in FAMILIES if f not in shares.columns)
    names = pl.DataFrame({"ranking": [r.name for r in LAYER_RANKINGS]})
    ranked = names.join(shares, on="ranking", how="semi").join(shares, on="ranking", maintain_order="left")
    present = set(inputs.families["family"])
    return ranked.select("ranking", *(pl.col(f).fill_null(0.0) if f in present else pl.col(f) for f in FAMILIES))


def top_families_by_method(inputs: Inputs) -> pl.DataFrame:
    """Figure 18: the same within each method, a row for every family that the store has layers of."""
    shares = _shares(inputs, "method")
    families = pl.DataFrame({"family": [f for f in FAMILIES if f in set(inputs.families["family"])]})
    ranked = shares.select("ranking", "method").unique().join(families, how="cross")
    ranked = ranked.join(shares, on=["ranking", "method", "family"], how="left")
    places = [
        pl.col(name).replace_strict(order, range(len(order)), return_dtype=pl.Int64)
        for name, order in (
            ("ranking", [r.name for r in LAYER_RANKINGS]),
            ("method", order_methods(shares["method"])),
            ("family", list(FAMILIES)),
        )
    ]
    return ranked.sort(places).select("ranking", "method", "family", pl.col("share").fill_null(0.0))


def _shares(inputs: Inputs, *by: str) -> pl.DataFrame:
    """Shares of families in each ranking: a layer counts by its weight, a step as much as any other."""
    group = ["ranking", *by]
    weights = inputs.top.group_by(*group, "family").agg(pl.col("weight").sum())
    return weights.with_columns(share=pl.col("weight") / pl.col("weight").sum().over(group)).drop("weight")


def largest_share(frame: pl.DataFrame) -> str:
    """A sentence on the family with the largest share in each ranking."""
    parts = []
    for row in frame.iter_rows(named=True):
        shares = {name: value for name, value in row.items() if name != "ranking" and value is not None}
        family = max(shares, key=lambda name: shares[name])
        parts.append(f"{family} ({number_text(shares[family])}) for {in_text(str(row['ranking']))}")
    return f"The largest shares: {', '.join(parts)}." if parts else ""


LAYER_TABLES: tuple[AnalysisTable, ...] = (
    AnalysisTable(
        "table17_family_summary",
        "Table 17: projection families",
        "Which families of layers conflict most, in geometry and in gradients?",
        "Families differ in width and in the size of their updates, and conflict depends on both.",
        ("conflict",),
        family_summary,
        key=("family",),
        shows=highest("mean_gc", "Mean conflict", by="family"),
    ),
    AnalysisTable(
        "table18_top_layer_families",
        "Table 18: families of the layers that stand out",
        "Which families do the layers with most conflict, or most negative gradients, belong to?",
        "A share depends on how many layers a family has. Here every step gives its top layers and counts the same; "
        "the released code takes the 200 highest of a run's rows, one a pair and layer, so that late steps decide.",
        ("conflict",),
        top_families,
        key=("ranking",),
        shows=largest_share,
    ),
    AnalysisTable(
        "fig18_top_layer_families_by_method_in_text",
        "Figure 18: families of the layers that stand out, by method",
        "Do other layers stand out under other methods?",
        "As for table 18. The paper's text names only the largest shares.",
        ("conflict",),
        top_families_by_method,
        part="figure",
        key=("ranking", "method", "family"),
        panels=pivoted("family", values="share"),
    ),
)
"""Families of layers."""
