"""Signals of steps, families and layers, aggregated from the rows of layers.

Symbols, as in arXiv 2605.09608: S_t = theta_t - theta_0 the state's update after step t, D_i the update of task i, A_t
the active set, l a target layer; SAR and GC of two updates, and c_ij the cosine of two tasks' probe gradients at
theta_t, each of one layer. Means run over layers and over the pairs named, and leave out undefined values.

A measure is aggregated twice, first within each layer of a step, then over the layers of a family or of the step, by
sums that do not depend on the order of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from geodiag.signals.catalog import FAMILY_SIGNALS, HEALTH
from geodiag.signals.outcomes import STEP_OUTCOMES, exact_sum, mean_of, ordered_sum, step_outcomes
from geodiag.signals.timeline import SOURCES, labelled, steps
from geodiag.store import StoreReader


@dataclass(frozen=True)
class Measure:
    """A column aggregated from raw rows."""

    name: str
    """The column."""
    source: str
    """The raw rows it aggregates, a name in `SOURCES`."""
    value: pl.Expr
    """The value of a raw row; null leaves the row out."""
    aggregate: Aggregate
    """The reduction of the values to one."""


@dataclass(frozen=True)
class Aggregate:
    """A reduction in two stages."""

    parts: Callable[[pl.Expr], dict[str, pl.Expr]]
    """Raw values to named partial results."""
    merge: Callable[[str], pl.Expr]
    """Partial results of several layers, a column, to one of all layers."""
    finish: Callable[[dict[str, pl.Expr]], pl.Expr]
    """Partial results to the value."""


def _complete(value: pl.Expr, p: dict[str, pl.Expr]) -> pl.Expr:
    # A sum over some of the layers is not the sum over all, so one undefined layer leaves it undefined.
    return pl.when((p["rows"] > 0) & (p["n"] == p["rows"])).then(value)


def _total(value: pl.Expr) -> dict[str, pl.Expr]:
    # Its sources have one row a layer, so a layer's sum has one term and the order of rows does not matter.
    return {"sum": value.sum(), "n": value.count(), "rows": value.len()}


MEAN = Aggregate(
    parts=lambda v: {"sum": exact_sum(v), "n": v.count()},
    merge=lambda name: pl.col(name).sum(),
    finish=lambda p: mean_of(p["sum"], p["n"]),
)
"""The mean of the values that are not null; they must lie in -1..1."""
LOWEST = Aggregate(lambda v: {"min": v.min()}, lambda name: pl.col(name).min(), lambda p: p["min"])
"""The smallest value."""
HIGHEST = Aggregate(lambda v: {"max": v.max()}, lambda name: pl.col(name).max(), lambda p: p["max"])
"""The largest value."""
TOTAL = Aggregate(_total, lambda name: ordered_sum(pl.col(name)), lambda p: _complete(p["sum"], p))
"""The sum over layers; null where a layer's value is."""
LENGTH = Aggregate(
    parts=lambda v: _total(v**2),
    merge=lambda name: ordered_sum(pl.col(name)),
    finish=lambda p: _complete(p["sum"].sqrt(), p),
)
"""The square root of the sum of squares over layers; null where a layer's value is."""


def _kind(kind: str, column: str) -> pl.Expr:
    return pl.when(pl.col("kind") == kind).then(pl.col(column))


def _share(condition: pl.Expr) -> pl.Expr:
    return condition.cast(pl.Float64)


MEASURES: tuple[Measure, ...] = (
    # sqrt(sum_l ||theta_t - theta_{t-1}||_F^2), and sum_l ||theta_t - theta_{t-1}||_F
    Measure("update_norm", "states", pl.col("increment_norm"), LENGTH),
    Measure("update_norm_sum", "states", pl.col("increment_norm"), TOTAL),
    # sqrt(sum_l ||S_t||_F^2), and sum_l ||S_t||_F
    Measure("state_norm", "states", pl.col("norm"), LENGTH),
    Measure("state_norm_sum", "states", pl.col("norm"), TOTAL),
    # mean over i < j in A_t of SAR_ij and of GC_ij, each pair in its own union basis
    Measure("active_sar", "pairs", _kind("active", "sar"), MEAN),
    Measure("active_conflict", "pairs", _kind("active", "conflict"), MEAN),
    # mean over i in A_t of SAR(S_t, D_i) and of GC(S_t, D_i)
    Measure("state_sar", "pairs", _kind("state", "sar"), MEAN),
    Measure("state_conflict", "pairs", _kind("state", "conflict"), MEAN),
    # mean over i < j in A_t of GC_ij in the union basis of A_t
    Measure("global_active_conflict", "pairs", _kind("active", "in_active"), MEAN),
    # mean over all pairs of A_t and S_t of GC in the union basis of A_t and S_t
    Measure("global_state_conflict", "pairs", pl.col("in_state"), MEAN),
    # mean, minimum and share below 0 of c_ij over i < j in A_t
    Measure("mean_grad_cos", "gradients", pl.col("cos"), MEAN),
    Measure("min_grad_cos", "gradients", pl.col("cos"), LOWEST),
    Measure("neg_grad_ratio", "gradients", _share(pl.col("cos") < 0), MEAN),
    # checks of the measurements
    Measure("lambda_share_mean", "pairs", pl.col("lambda_share"), MEAN),
    Measure("lambda_share_max", "pairs", pl.col("lambda_share"), HIGHEST),
    Measure("undefined_share", "pairs", _share(pl.col("conflict").is_null()), MEAN),
    Measure("floor_share", "updates", _share(pl.col("norm") <= pl.col("rounding_floor")), MEAN),
    Measure("energy_kept", "updates", pl.col("energy_kept"), MEAN),
    Measure("grad_reliability", "gradients", pl.mean_horizontal("reliability_i", "reliability_j"), MEAN),
)
"""Every aggregated column, in no particular order."""

GAP_FORMULAS: dict[str, tuple[str, str]] = {
    "state_gap": ("state_conflict", "active_conflict"),
    "global_gap": ("global_state_conflict", "global_active_conflict"),
}
"""Columns that are the first measure minus the second. The paper names both gaps without a formula."""


_LAYER = ("run", "step", "layer", "block", "family")
_SIGNALS = tuple(signal.name for signal in FAMILY_SIGNALS)
_HEALTH = tuple(check.name for check in HEALTH)


def _parts(measure: Measure) -> dict[str, pl.Expr]:
    """The partial results of a measure, by the columns that hold them."""
    return {f"{measure.name}.{part}": value for part, value in measure.aggregate.parts(measure.value).items()}


def _value(measure: Measure) -> pl.Expr:
    """A measure from the columns of its partial results."""
    parts = {name.rpartition(".")[2]: pl.col(name) for name in _parts(measure)}
    return measure.aggregate.finish(parts).alias(measure.name)


# The stages of `MEASURES`: within a layer, by source; over one layer, or over several; and from merged parts to values.
_WITHIN_LAYERS = {
    source: [part.alias(name) for m in MEASURES if m.source == source for name, part in _parts(m).items()]
    for source in SOURCES
}
# Each source has one row a layer: there is one value, and nulls from the other sources.
_OVER_ONE = [pl.col(name).max() for measure in MEASURES for name in _parts(measure)]
_OVER_SEVERAL = [measure.aggregate.merge(name) for measure in MEASURES for name in _parts(measure)]
_VALUES = [_value(measure) for measure in MEASURES]
_GAPS = [(pl.col(first) - pl.col(second)).alias(gap) for gap, (first, second) in GAP_FORMULAS.items()]


def step_signals(store: StoreReader) -> pl.DataFrame:
    """Every signal and outcome of every step.

    Means are over all pairs and layers that are defined; a signal that is defined nowhere is null. At step 1 there is
    no pair of active updates, so the active and global conflicts and both gaps are null.

    Args:
        store: the store, or a view of some of its runs.

    Returns:
        One row a (run, step), sorted: run, size, method, seed, step, task, n_active (the active set's size),
        then the columns of `SIGNALS` (step among the first), of `HEALTH` and of `TARGETS`, overall_source
        ("scored" or "mean"), and n_old and n_old_scored, how many old tasks there are and were scored.

    Raises:
        StoreError: the store holds no run, or a run's settings name no lambda.
    """
    store = store.snapshot()
    rows = steps(store).join(_signals(store, ("run", "step")), on=["run", "step"], how="left")
    rows = rows.join(step_outcomes(store), on=["run", "step"], how="left")
    return labelled(store, rows.select("run", "step", "task", "n_active", *_SIGNALS, *_HEALTH, *STEP_OUTCOMES))


def family_signals(store: StoreReader) -> pl.DataFrame:
    """The signals of every family of layers at every step.

    Args:
        store: the store, or a view of some of its runs.

    Returns:
        One row a (run, step, family), families in the order of a block: run, size, method, seed, step, task,
        family, then the columns of `FAMILY_SIGNALS` and `HEALTH`.

    Raises:
        StoreError: the store holds no run, or a run's settings name no lambda.
    """
    store = store.snapshot()
    return _with_task(store, ("family",))


def layer_signals(store: StoreReader) -> pl.DataFrame:
    """The signals of every layer at every step.

    Args:
        store: the store, or a view of some of its runs.

    Returns:
        One row a (run, step, layer), by block and family: run, size, method, seed, step, task, layer, block,
        family, then the columns of `FAMILY_SIGNALS` and `HEALTH`.

    Raises:
        StoreError: the store holds no run, or a run's settings name no lambda.
    """
    store = store.snapshot()
    return _with_task(store, ("layer", "block", "family"))


def _with_task(store: StoreReader, place: Sequence[str]) -> pl.DataFrame:
    rows = steps(store).join(_signals(store, ("run", "step", *place)), on=["run", "step"])
    return labelled(store, rows.select("run", "step", "task", *place, *_SIGNALS, *_HEALTH))


def _signals(store: StoreReader, keys: Sequence[str]) -> pl.LazyFrame:
    """All measures and gaps, aggregated over the rows that share `keys`."""
    parts = [SOURCES[source](store).group_by(_LAYER).agg(within) for source, within in _WITHIN_LAYERS.items()]
    merged = pl.concat(parts, how="diagonal").group_by(keys).agg(_OVER_ONE if "layer" in keys else _OVER_SEVERAL)
    return merged.select(*keys, *_VALUES).with_columns(_GAPS)
