"""Signals of steps, of the families of a step, and of its layers."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from geodiag.signals.catalog import FAMILY_SIGNALS, HEALTH
from geodiag.signals.measures import GAPS, MEASURES, Measure
from geodiag.signals.outcomes import STEP_OUTCOMES, step_outcomes
from geodiag.signals.sources import SOURCES
from geodiag.signals.timeline import labelled, steps
from geodiag.store import StoreReader

_LAYER = ("run", "step", "layer", "block", "family")
_SIGNALS = tuple(signal.name for signal in FAMILY_SIGNALS)
_HEALTH = tuple(check.name for check in HEALTH)


def step_signals(store: StoreReader) -> pl.DataFrame:
    """Every signal and outcome of every step.

    Means are over all pairs and layers that are defined; what is defined nowhere is null. At step 1 there is
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
    found = steps(store).join(_signals(store, ("run", "step")), on=["run", "step"], how="left")
    found = found.join(step_outcomes(store), on=["run", "step"], how="left")
    return labelled(store, found.select("run", "step", "task", "n_active", *_SIGNALS, *_HEALTH, *STEP_OUTCOMES))


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
    return _with_task(store, ("layer", "block", "family"))


def _with_task(store: StoreReader, place: Sequence[str]) -> pl.DataFrame:
    found = steps(store).join(_signals(store, ("run", "step", *place)), on=["run", "step"])
    return labelled(store, found.select("run", "step", "task", *place, *_SIGNALS, *_HEALTH))


def _signals(store: StoreReader, keys: Sequence[str]) -> pl.LazyFrame:
    """All measures and gaps, aggregated over the rows that share `keys`."""
    parts = pl.concat([_layer_parts(store, source) for source in SOURCES], how="diagonal")
    merged = parts.group_by(keys).agg(part for measure in MEASURES for part in _merged(measure, keys))
    measured = merged.select(*keys, *(_finish(measure) for measure in MEASURES))
    return measured.with_columns((pl.col(a) - pl.col(b)).alias(gap) for gap, (a, b) in GAPS.items())


def _layer_parts(store: StoreReader, source: str) -> pl.LazyFrame:
    """One source's measures, reduced within each layer of each step."""
    parts = [
        expression.alias(f"{measure.name}.{part}")
        for measure in MEASURES
        if measure.source == source
        for part, expression in measure.how.parts(measure.value).items()
    ]
    return SOURCES[source](store).group_by(_LAYER).agg(parts)


def _merged(measure: Measure, keys: Sequence[str]) -> list[pl.Expr]:
    names = _part_names(measure).values()
    if "layer" in keys:
        # Each source has one row a layer: there is nothing to add up, only nulls of other sources to pass.
        return [pl.col(name).max() for name in names]
    return [measure.how.merge(name) for name in names]


def _part_names(measure: Measure) -> dict[str, str]:
    return {part: f"{measure.name}.{part}" for part in measure.how.parts(measure.value)}


def _finish(measure: Measure) -> pl.Expr:
    parts = {part: pl.col(name) for part, name in _part_names(measure).items()}
    return measure.how.finish(parts).alias(measure.name)
