"""The raw rows that signals are aggregated from, each at every step it holds for.

Every source gives one row a (run, step, layer, ...) with `block` and `family` beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import polars as pl

from geodiag.errors import StoreError
from geodiag.signals.timeline import expand_pairs
from geodiag.store import StoreReader


def pair_rows(store: StoreReader) -> pl.LazyFrame:
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


def gradient_rows(store: StoreReader) -> pl.LazyFrame:
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
    lam = pl.col("lambda")
    wider = 2 * lam * (pl.col(rank) - pl.col("union_rank"))
    value = pl.col("bures_sq") / (pl.col("trace_i") + pl.col("trace_j") + wider + lam)
    return pl.when(pl.col("conflict").is_not_null()).then(value)


SOURCES: Mapping[str, Callable[[StoreReader], pl.LazyFrame]] = MappingProxyType(
    {"pairs": pair_rows, "states": state_rows, "updates": update_rows, "gradients": gradient_rows}
)
"""Every source by name."""
