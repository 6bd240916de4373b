"""Tables of projection families and layers, and the aggregates that figures draw."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from geodiag.common.schema import FAMILIES
from geodiag.signals import LAYER_RANKINGS
from geodiag.signals.catalog import in_text
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


HARM = 0.01
"""Smallest change of an old task's score that counts as one: one point in a hundred."""
ROW_LABELS = ("run", "size", "method", "step", "task", "new_task", "old_task")
"""Columns that name a row of steps or pairs."""


def labelled_values(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The columns that name a row, as far as there are any, and those of `names`."""
    labels = [name for name in ROW_LABELS if name in rows.columns and name not in names]
    return rows.select(*labels, *names)


def pair_regimes(pairs: pl.DataFrame) -> pl.DataFrame:
    """Pairs with the percentile of their alignment among all, and what became of the old task.

    percentile = 100 (average rank of mean_sar - 1/2) / n, in 0..100.
    regime: "harmed" where drop <= -HARM, "helped" where drop >= HARM, else "unchanged".

    Args:
        pairs: rows with mean_sar and drop, neither null.

    Returns:
        The same rows with columns percentile and regime.
    """
    drop = pl.col("drop")
    regime = pl.when(drop <= -HARM).then(pl.lit("harmed")).when(drop >= HARM).then(pl.lit("helped"))
    percentile = 100 * (pl.col("mean_sar").rank("average") - 0.5) / pl.len()
    return pairs.with_columns(percentile=percentile, regime=regime.otherwise(pl.lit("unchanged")))


def scaled_within_runs(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Columns moved to 0..1 within each run.

    (x - min of the run) / (max of the run - min of the run); null where the run has but one value of x.
    """
    low, high = ({name: getattr(pl.col(name), end)().over("run") for name in names} for end in ("min", "max"))
    return rows.with_columns(
        pl.when(high[n] > low[n]).then((pl.col(n) - low[n]) / (high[n] - low[n])).alias(n) for n in names
    )


def task_means(pairs: pl.DataFrame, value: str, *, tasks: Sequence[str] | None = None) -> pl.DataFrame:
    """Means of a pair's value over runs.

    Args:
        pairs: rows with new_task, old_task and the value.
        value: the column.
        tasks: for a value that has no direction: the order of all tasks, so that of two tasks the first is the old one.

    Returns:
        One row a (new_task, old_task): the mean of the values that are defined, null where none is, and their count n.
    """
    rows = pairs if tasks is None else _undirected(pairs, tasks)
    return rows.group_by("new_task", "old_task", maintain_order=True).agg(pl.col(value).mean(), n=pl.col(value).count())


def _undirected(pairs: pl.DataFrame, tasks: Sequence[str]) -> pl.DataFrame:
    place = {task: k for k, task in enumerate(tasks)}
    later = pl.col("new_task").replace_strict(place) > pl.col("old_task").replace_strict(place)
    new, old = pl.col("new_task"), pl.col("old_task")
    return pairs.with_columns(
        new_task=pl.when(later).then(new).otherwise(old), old_task=pl.when(later).then(old).otherwise(new)
    )


def family_means(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Means of signals by projection family, over all rows where they are defined.

    Returns:
        One row a (family, signal): family, signal, value; families in the order of a block, others after them by name.
    """
    means = rows.group_by("family").agg(pl.col(name).mean() for name in names)
    place = {family: k for k, family in enumerate(FAMILIES)}
    order = pl.col("family").replace_strict(place, default=len(FAMILIES)), pl.col("family")
    return means.sort(*order).unpivot(on=list(names), index="family", variable_name="signal")


def block_means(layers: pl.DataFrame, signal: str) -> pl.DataFrame:
    """Mean of a signal by block and projection family, over all layers, steps and runs of a size.

    Returns:
        One row a (size, block, family), sorted: the mean in the signal's column, null where it is undefined.
    """
    return layers.group_by("size", "block", "family").agg(pl.col(signal).mean()).sort("size", "block", "family")
