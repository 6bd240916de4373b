"""Rows that figures draw and no table holds: means over runs, scaled curves, and pairs by what became of the old task.

They are made from the rows of `step_signals`, `pair_signals`, `family_signals` and `layer_signals`. A figure writes
them beside its picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from geodiag.common.schema import FAMILIES

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
