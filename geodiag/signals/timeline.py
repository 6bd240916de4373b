"""Steps, trained tasks and active pairs of each run, and the raw rows of signals at every step they hold for.

Symbols: B_i the projected geometry of an update, lambda its regulariser, d^2 the squared Bures-Wasserstein distance, q
the columns of the basis.

    GC_ij = d^2(B_i, B_j) / (tr B_i + tr B_j + lambda)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import polars as pl

from geodiag.common.schema import FAMILIES
from geodiag.errors import StoreError
from geodiag.store import StoreReader

LABELS = ("run", "size", "method", "seed")
"""Columns that name a run in every result, in this order."""


def trained_tasks(store: StoreReader) -> pl.LazyFrame:
    """The task that each step trains: (run, step, task). It is the task first active at that step."""
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


_ORDER = {name: pl.col(name) for name in ("run", "step", "block", "family", "layer", "age")} | {
    "family": pl.col("family").replace_strict(FAMILIES, range(len(FAMILIES)), default=len(FAMILIES))
}
"""The order of rows by the keys that a frame has; families stand in the order of a block."""


def labelled(store: StoreReader, frame: pl.LazyFrame) -> pl.DataFrame:
    """Collects a frame with the run's labels in front, sorted by run, step and its other keys."""
    names = frame.collect_schema().names()
    order = [key for name, key in _ORDER.items() if name in names]
    joined = frame.join(store.runs().lazy().select(*LABELS), on="run", how="inner")
    return joined.sort(order).select(*LABELS, pl.exclude(*LABELS)).collect()


def pair_signal_rows(store: StoreReader) -> pl.LazyFrame:
    """Compared pairs at every step, with their conflict in the union bases of the step.

    On the complement of a pair's own span both geometries are lambda * I. In a larger basis of q columns the
    distance is therefore the same and each trace grows by lambda * (q - union_rank):

        conflict_q = bures_sq / (trace_i + trace_j + 2 lambda (q - union_rank) + lambda)

    `in_active` takes q from the basis of the active set, `in_state` from that of active set and state.
    """
    rows = expand_pairs(store).join(store.scan("unions"), on=["run", "step", "layer"], how="left")
    rows = rows.join(regularisers(store).lazy(), on="run", how="left")
    return rows.with_columns(in_active=_conflict_in("active_rank"), in_state=_conflict_in("state_rank"))


def state_rows(store: StoreReader) -> pl.LazyFrame:
    """The states' own updates, one row a (run, step, layer)."""
    return store.scan("updates").filter(pl.col("object") == "state")


def update_rows(store: StoreReader) -> pl.LazyFrame:
    """The updates that each step made: the state's and the new task's."""
    return store.scan("updates")


def gradient_signal_rows(store: StoreReader) -> pl.LazyFrame:
    """Pairs of probe gradients of two tasks that are both active."""
    active = store.scan("active").filter(pl.col("role") == "task").select("run", "step", "task")
    rows = store.scan("gradients").filter(pl.col("task_i") != pl.col("task_j"))
    for task in ("task_i", "task_j"):
        rows = rows.join(active, left_on=["run", "step", task], right_on=["run", "step", "task"], how="semi")
    return rows


def regularisers(store: StoreReader) -> pl.DataFrame:
    """The lambda that each run was extracted with: (run, lambda).

    Raises:
        StoreError: a run's settings do not name it.
    """
    values: dict[str, float] = {}
    for run, config in store.configs().items():
        try:
            values[run] = float(config["lambda"])
        except (KeyError, TypeError, ValueError) as cause:
            fix = "extract the run again with --overwrite"
            raise StoreError("the run's settings name no lambda", where=store.path, run=run, fix=fix) from cause
    return pl.DataFrame({"run": list(values), "lambda": list(values.values())})


def _conflict_in(rank: str) -> pl.Expr:
    # d^2 / (tr B_i + tr B_j + 2 lambda (q - union_rank) + lambda)
    lam = pl.col("lambda")
    wider = 2 * lam * (pl.col(rank) - pl.col("union_rank"))
    value = pl.col("bures_sq") / (pl.col("trace_i") + pl.col("trace_j") + wider + lam)
    return pl.when(pl.col("conflict").is_not_null()).then(value)


SOURCES: Mapping[str, Callable[[StoreReader], pl.LazyFrame]] = MappingProxyType(
    {"pairs": pair_signal_rows, "states": state_rows, "updates": update_rows, "gradients": gradient_signal_rows}
)
"""Every source by name."""
