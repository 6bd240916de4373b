"""Who is in play when: the steps of each run, the task each one trains, and the pairs active at it."""

from __future__ import annotations

import polars as pl

from geodiag.families import FAMILIES
from geodiag.store import StoreReader

LABELS = ("run", "size", "method", "seed")
"""What names a run in every result, in this order."""


def trained_tasks(store: StoreReader) -> pl.LazyFrame:
    """The task that each step trains: (run, step, task). It is the one that becomes active at that step."""
    tasks = store.scan("active").filter(pl.col("role") == "task")
    return tasks.group_by("run", "task").agg(pl.col("step").min()).select("run", "step", "task")


def steps(store: StoreReader) -> pl.LazyFrame:
    """Every step of every run: (run, step, task, n_active), n_active being the size of its active set."""
    sizes = store.scan("active").group_by("run", "step").agg(n_active=pl.len().cast(pl.Int32))
    return sizes.join(trained_tasks(store), on=["run", "step"], how="left").select("run", "step", "task", "n_active")


def old_tasks(store: StoreReader) -> pl.LazyFrame:
    """Every step with every task trained before it: (run, step, new_task, old_task, age)."""
    tasks = trained_tasks(store)
    pairs = tasks.join(tasks, on="run", suffix="_old").filter(pl.col("step_old") < pl.col("step"))
    age = pl.col("step") - pl.col("step_old")
    return pairs.select("run", "step", new_task="task", old_task="task_old", age=age)


def between_tasks() -> pl.Expr:
    """Whether a row of `pairs` compares two tasks, rather than a task and a state."""
    state = pl.lit("state")
    return (pl.col("kind") == "active") & (pl.col("object_i") != state) & (pl.col("object_j") != state)


def active_pairs(store: StoreReader) -> pl.LazyFrame:
    """The steps at which two tasks that were compared are both active: (run, step, object_i, object_j)."""
    compared = store.scan("pairs").filter(between_tasks()).select("run", "object_i", "object_j").unique()
    active = store.scan("active").select("run", "step", "object")
    first = compared.join(active, left_on=["run", "object_i"], right_on=["run", "object"])
    return first.join(active, left_on=["run", "step", "object_j"], right_on=["run", "step", "object"])


def expand_pairs(store: StoreReader) -> pl.LazyFrame:
    """The rows of `pairs` at every step they hold for.

    Two tasks are compared once and hold whenever both are active. A pair with a state holds at its own step.
    """
    rows = store.scan("pairs")
    tasks = rows.filter(between_tasks()).drop("step")
    shared = tasks.join(active_pairs(store), on=["run", "object_i", "object_j"])
    own = rows.filter(between_tasks().not_())
    return pl.concat([own, shared.select(*own.collect_schema().names())])


def labelled(store: StoreReader, frame: pl.LazyFrame) -> pl.DataFrame:
    """Collects a frame with the run's labels in front, sorted by run, step and what else names a row."""
    names = frame.collect_schema().names()
    order = [pl.col(name) for name in ("run", "step") if name in names]
    order += [pl.col("block")] if "block" in names else []
    order += [_family_order()] if "family" in names else []
    order += [pl.col(name) for name in ("layer", "age") if name in names]
    joined = frame.join(store.runs().lazy().select(*LABELS), on="run", how="inner")
    return joined.sort(order).select(*LABELS, *(name for name in names if name != "run")).collect()


def _family_order() -> pl.Expr:
    places = {family: place for place, family in enumerate(FAMILIES)}
    return pl.col("family").replace_strict(places, default=len(places), return_dtype=pl.Int32)
