"""Outcomes from scores: of a step, of an old task, and of a run; sums that do not depend on the order of rows."""

from __future__ import annotations

import polars as pl

from geodiag.signals.catalog import TARGETS
from geodiag.signals.timeline import labelled, old_tasks, steps, trained_tasks
from geodiag.store import StoreReader

_ONE = 2.0**60
"""Fixed-point unit. A float64 of 2**-8 or more is a whole number of 2**-60, and an Int128 holds 2**67 terms."""

DECIMALS = 12
"""Decimals kept of numbers computed from scores: scores have few, and so have their exact differences."""


def exact_sum(value: pl.Expr) -> pl.Expr:
    """The sum of values between -1 and 1, as a whole number of 2**-60."""
    return (value * _ONE).round().cast(pl.Int128).sum()


def from_exact(total: pl.Expr) -> pl.Expr:
    """What `exact_sum` gives, or a sum of such, as a float."""
    return total.cast(pl.Float64) / _ONE


def exact_mean(value: pl.Expr) -> pl.Expr:
    """The mean of values between -1 and 1 that are not null; null where all are."""
    return mean_of(exact_sum(value), value.count())


def mean_of(total: pl.Expr, count: pl.Expr) -> pl.Expr:
    """The mean from an `exact_sum` and a count; null where the count is 0."""
    return pl.when(count > 0).then(from_exact(total) / count)


def ordered_sum(value: pl.Expr) -> pl.Expr:
    """The sum of values of any size, added from the smallest up; null where all are null. Slow for many groups."""
    return value.sort(nulls_last=False).cum_sum().last()


def as_decimal(value: pl.Expr) -> pl.Expr:
    """A number computed from scores, rounded to `DECIMALS` so that equal changes of different scores are equal."""
    return value.round(DECIMALS) + 0.0


OVERALL_ROW = "overall"
"""The task name under which an overall score is stored."""

STEP_OUTCOMES = (*(target.name for target in TARGETS), "overall_source", "n_old", "n_old_scored")
"""The columns of `step_outcomes` after its key."""


def pair_outcomes(store: StoreReader) -> pl.LazyFrame:
    """Score and change of each old task at each step: (run, step, new_task, old_task, age, score, drop, forgetting)."""
    scores = _score_grid(store).rename({"task": "old_task"})
    rows = old_tasks(store).join(scores, on=["run", "step", "old_task"], how="left")
    return rows.select(
        *("run", "step", "new_task", "old_task", "age", "score"),
        drop=as_decimal(pl.col("score") - pl.col("before")),
        forgetting=as_decimal(pl.col("score") - pl.col("best")),
    )


def step_outcomes(store: StoreReader) -> pl.LazyFrame:
    """The outcomes of each step: (run, step) and `STEP_OUTCOMES`."""
    key = ["run", "step"]
    old = pair_outcomes(store).group_by(key).agg(_over_old_tasks())
    current = store.scan("scores").select("run", "step", "task", current="score")
    rows = steps(store).join(current, on=[*key, "task"], how="left")
    rows = rows.join(_overall(store), on=key, how="left").join(old, on=key, how="left")
    return rows.with_columns(pl.col("n_old", "n_old_scored").fill_null(0)).select(*key, *STEP_OUTCOMES)


def run_outcomes(store: StoreReader) -> pl.DataFrame:
    """The outcomes of whole runs.

    With T the last step: OP = mean_j a[T, j]; BWT = mean_{j<T} (a[T, j] - a[j, j]);
    FWT = mean_{j>1} (a[j-1, j] - a[0, j]), null where the base was not scored.

    Args:
        store: the store, or a view of some of its runs.

    Returns:
        One row a run: run, size, method, seed, n_steps; final_overall, overall_source, old_mean, old_min,
        worst_drop, forgetting, retention_loss and current, all at the last step; OP, BWT, FWT; and n_tasks
        and n_final_scored, how many tasks were trained and how many of them were scored at the last step.

    Raises:
        StoreError: the store holds no run.
    """
    store = store.snapshot()
    last = steps(store).group_by("run").agg(pl.col("step").max())
    names = {OVERALL_ROW: "final_overall", "step": "n_steps"}
    final = step_outcomes(store).join(last, on=["run", "step"]).rename(names).drop("n_old", "n_old_scored")
    rows = final.join(_transfer(store), on="run", how="left")
    first = ("run", "n_steps", "final_overall", "overall_source")
    return labelled(store, rows.select(*first, pl.all().exclude(first)))


def _over_old_tasks() -> list[pl.Expr]:
    lost = (-pl.col("forgetting")).clip(lower_bound=0.0)
    return [
        as_decimal(pl.col("score").mean()).alias("old_mean"),
        pl.col("score").min().alias("old_min"),
        pl.col("drop").min().alias("worst_drop"),
        as_decimal(pl.col("forgetting").mean()),
        as_decimal(lost.mean()).alias("retention_loss"),
        pl.len().cast(pl.Int32).alias("n_old"),
        pl.col("score").count().cast(pl.Int32).alias("n_old_scored"),
    ]


def _score_grid(store: StoreReader) -> pl.LazyFrame:
    """Every trained task at every step: (run, step, task, score, before, best).

    `before` is the score one step earlier, `best` the highest at any earlier step but the base; both null
    where there is none. Steps that were not scored are rows too, so a shift by one row is one step.
    """
    grid = steps(store).select("run", "step").join(trained_tasks(store).select("run", "task"), on="run")
    scores = store.scan("scores").select("run", "step", "task", "score")
    grid = grid.join(scores, on=["run", "step", "task"], how="left")
    best = pl.col("score").cum_max().forward_fill().shift(1)
    return grid.with_columns(
        before=pl.col("score").shift(1).over("run", "task", order_by="step"),
        best=best.over("run", "task", order_by="step"),
    )


def _overall(store: StoreReader) -> pl.LazyFrame:
    """The overall score of each step that has scores, and whether it was scored or is the tasks' mean."""
    scores = store.scan("scores")
    is_overall = pl.col("task") == OVERALL_ROW
    overall = scores.group_by("run", "step").agg(
        given=pl.col("score").filter(is_overall).first(),
        mean=as_decimal(pl.col("score").filter(~is_overall).mean()),
    )
    given = pl.col("given").is_not_null()
    return overall.select(
        *("run", "step"),
        pl.coalesce("given", "mean").alias(OVERALL_ROW),
        pl.when(given).then(pl.lit("scored")).otherwise(pl.lit("mean")).alias("overall_source"),
    )


def _transfer(store: StoreReader) -> pl.LazyFrame:
    """OP, BWT and FWT of each run: (run, OP, BWT, FWT, n_tasks, n_final_scored)."""
    tasks = trained_tasks(store).with_columns(last=pl.col("step").max().over("run"))
    # a[T, j], a[j, j], a[j-1, j] and a[0, j] of the task j trained at each step
    columns = {"final": pl.col("last"), "trained": pl.col("step"), "ahead": pl.col("step") - 1, "base": pl.lit(0)}
    for name, at in columns.items():
        tasks = _with_score(store, tasks, name, at)
    earlier, later = pl.col("step") < pl.col("last"), pl.col("step") > 1
    return tasks.group_by("run").agg(
        # OP = mean_j a[T, j];  BWT = mean_{j<T} (a[T, j] - a[j, j]);  FWT = mean_{j>1} (a[j-1, j] - a[0, j])
        OP=as_decimal(pl.col("final").mean()),
        BWT=as_decimal((pl.col("final") - pl.col("trained")).filter(earlier).mean()),
        FWT=as_decimal((pl.col("ahead") - pl.col("base")).filter(later).mean()),
        n_tasks=pl.len().cast(pl.Int32),
        n_final_scored=pl.col("final").count().cast(pl.Int32),
    )


def _with_score(store: StoreReader, tasks: pl.LazyFrame, name: str, at: pl.Expr) -> pl.LazyFrame:
    """Adds the score that each task has at the step `at`."""
    scores = store.scan("scores").select("run", pl.col("step").alias("at"), "task", pl.col("score").alias(name))
    keyed = tasks.with_columns(at=at.cast(pl.Int32))
    return keyed.join(scores, on=["run", "at", "task"], how="left").drop("at")
