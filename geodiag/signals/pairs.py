"""Signals of pairs: the new task of a step and each old task."""

from __future__ import annotations

import polars as pl

from geodiag.signals.catalog import PAIR_SIGNALS, PAIR_TARGETS
from geodiag.signals.exact_sums import exact_mean
from geodiag.signals.outcomes import pair_outcomes
from geodiag.signals.timeline import between_tasks, labelled, trained_tasks
from geodiag.store import StoreReader

_MEASURED = tuple(signal.name for signal in PAIR_SIGNALS if signal.kind != "baseline")
_KEY = ("run", "step", "new_task", "old_task")


def pair_signals(store: StoreReader) -> pl.DataFrame:
    """Signals of every (new task, old task) pair of every step, with the old task's outcomes.

    Signals are null where the two were not compared: when the old task had left the active set, or when the
    memory is the previous state alone.

    Args:
        store: the store, or a view of some of its runs.

    Returns:
        One row a (run, step, new_task, old_task): run, size, method, seed, step, new_task, old_task, age (how
        many steps ago the old task was trained), in_memory (whether both are active at the step), then the
        columns of `PAIR_SIGNALS`, score (the old task's), drop and forgetting.

    Raises:
        StoreError: the store holds no run.
    """
    store = store.snapshot()
    active = store.scan("active").filter(pl.col("role") == "task")
    active = active.select("run", "step", pl.col("task").alias("old_task"), in_memory=pl.lit(value=True))
    rows = pair_outcomes(store).join(active, on=["run", "step", "old_task"], how="left")
    rows = rows.with_columns(pl.col("in_memory").fill_null(value=False))
    rows = rows.join(_geometry(store), on=["run", "new_task", "old_task"], how="left")
    rows = rows.join(_gradients(store), on=_KEY, how="left")
    rows = rows.with_columns(pl.when("in_memory").then(pl.col(name)).alias(name) for name in _MEASURED)
    targets = (target.name for target in PAIR_TARGETS)
    return labelled(store, rows.select(*_KEY, "age", "in_memory", *_MEASURED, "score", *targets))


def _geometry(store: StoreReader) -> pl.LazyFrame:
    """SAR and conflict of every two tasks that were compared, over layers, in either order."""
    rows = store.scan("pairs").filter(between_tasks())
    over = rows.group_by("run", "object_i", "object_j").agg(
        mean_sar=exact_mean(pl.col("sar")),
        max_sar=pl.col("sar").max(),
        mean_conflict=exact_mean(pl.col("conflict")),
        max_conflict=pl.col("conflict").max(),
    )
    tasks = over.with_columns(pl.col("object_i", "object_j").str.strip_prefix("task:"))
    names = {"object_i": "new_task", "object_j": "old_task"}
    swapped = {"object_i": "old_task", "object_j": "new_task"}
    return pl.concat([tasks.rename(names), tasks.rename(swapped)], how="diagonal")


def _gradients(store: StoreReader) -> pl.LazyFrame:
    """Cosines of the new task's gradient and each other's at every step, over layers."""
    new = trained_tasks(store).rename({"task": "new_task"})
    rows = store.scan("gradients").join(new, on=["run", "step"])
    is_i, is_j = pl.col("task_i") == pl.col("new_task"), pl.col("task_j") == pl.col("new_task")
    rows = rows.filter(is_i ^ is_j)
    rows = rows.with_columns(old_task=pl.when(is_i).then("task_j").otherwise("task_i"))
    return rows.group_by(_KEY).agg(
        mean_grad_cos=exact_mean(pl.col("cos")),
        min_grad_cos=pl.col("cos").min(),
        neg_grad_ratio=(pl.col("cos") < 0).mean(),
    )
