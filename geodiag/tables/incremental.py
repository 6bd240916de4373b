"""What each signal adds to the step index and the norms, with a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import polars as pl

from geodiag.signals import SIGNALS
from geodiag.signals.catalog import HEADLINE_TARGET, label
from geodiag.stats import Correlation, IncrementalTest, benjamini_hochberg, holm, incremental_value_test
from geodiag.tables.confounds import step_grids
from geodiag.tables.inputs import Inputs
from geodiag.tables.table import AnalysisTable, TablePanel

CONTROLS = ("step", "update_norm", "state_norm")
"""The columns of a step that need neither geometry nor gradients."""
INCREMENTAL_TARGETS = ("forgetting", "worst_drop")
"""The outcomes that signals are tested on."""
# The sum of layers' norms is not a new signal where their Euclidean length is one.
TESTED = tuple(signal.name for signal in SIGNALS if not signal.name.endswith("_norm_sum"))
"""The signals tested; a control among them is tested with the other controls."""

_SLOPES = ("slope", "slope_low", "slope_high", "slope_p", "slope_p_bh", "slope_p_holm")
_MIXED = ("mixed_slope", "mixed_low", "mixed_high", "mixed_p")
_GAINS = ("spearman_without", "spearman_with", "spearman_gain", "gain_low", "gain_high")
_R2 = ("r2_without", "r2_with", "r2_gain", "r2_gain_low", "r2_gain_high")
INCREMENTAL_SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("signal", "target", "verdict"), pl.String),
    **dict.fromkeys((*_SLOPES, *_MIXED, *_GAINS, *_R2), pl.Float64),
    "n": pl.Int64,
    "runs": pl.Int64,
    "note": pl.String,
}
"""Columns of the table."""

NOT_MEASURED, FEW, NOTHING = "not measured", "too few runs", "no clear relation"
DIFFERS_BY_RUN, FOLLOWS_STEP, FOLLOWS_NORMS = "differs between runs", "follows the step index", "follows the norms"
NO_MORE, ADDS = "nothing beyond the baselines", "adds to the baselines"
VERDICTS: Mapping[str, str] = MappingProxyType(
    {
        NOT_MEASURED: "it is undefined in this store, or constant",
        FEW: "there are too few runs for an interval",
        NOTHING: "neither over all steps nor inside runs does its interval leave 0 out",
        FOLLOWS_STEP: "at a fixed step its interval includes 0: it cannot be told from the step index",
        DIFFERS_BY_RUN: (
            "inside runs its interval includes 0, or its slope vanishes once each run has its own intercept"
        ),
        FOLLOWS_NORMS: "at fixed norms its interval includes 0: it cannot be told from the norms",
        NO_MORE: "beside step index, update norm and state norm together its slope cannot be told from 0",
        ADDS: "its slope beside them is not 0, over all steps and with an intercept for each run",
    }
)
"""The verdicts with their conditions; the first that applies counts."""


@dataclass(frozen=True)
class IncrementalEvidence:
    """The estimates that decide a verdict."""

    ways: Mapping[str, Correlation]
    """The signal's correlations with the outcome, by way."""
    value: IncrementalTest
    """Its slope and gain in prediction with the controls."""
    p: float
    """The adjusted p-value of its slope, NaN where undefined."""
    alpha: float
    """The level of intervals and p-values."""

    def clear(self, way: str) -> bool | None:
        """Whether the interval leaves out 0; None where there is no interval."""
        return _leaves_out_zero(self.ways[way].jackknife.low, self.ways[way].jackknife.high)

    def vague(self, way: str) -> bool:
        """Whether there is an interval and it includes 0."""
        return self.clear(way) is False


_RULES: tuple[tuple[str, Callable[[IncrementalEvidence], bool]], ...] = (
    (NOT_MEASURED, lambda e: e.ways["pooled"].estimate is None),
    (FEW, lambda e: e.clear("pooled") is None),
    (NOTHING, lambda e: not e.clear("pooled") and not e.clear("within")),
    (FOLLOWS_STEP, lambda e: e.vague("step_partial")),
    (DIFFERS_BY_RUN, lambda e: e.vague("within") and e.ways["between"].estimate is not None),
    (FOLLOWS_NORMS, lambda e: e.vague("norm_partial")),
    (NO_MORE, lambda e: not e.p < e.alpha),
    (DIFFERS_BY_RUN, lambda e: _leaves_out_zero(e.value.mixed.low, e.value.mixed.high) is False),
    (ADDS, lambda _: True),
)


def incremental(inputs: Inputs) -> pl.DataFrame:
    """What each signal adds to the step index, the update norm and the state norm."""
    values = {(target, signal): _value(inputs, signal, target) for target in INCREMENTAL_TARGETS for signal in TESTED}
    p = np.array([_number(value.regression.p) for value in values.values()])
    adjusted = {key: pair for key, *pair in zip(values, benjamini_hochberg(p), holm(p), strict=True)}
    grids, rows = step_grids(inputs), []
    for (target, signal), value in values.items():
        p_bh, p_holm = adjusted[target, signal]
        ways = {name: grid.cell(signal, target) for name, grid in grids.items()}
        evidence = IncrementalEvidence(ways, value, p_bh, 1 - inputs.options.level)
        named = {"signal": signal, "target": target, "verdict": incremental_verdict(evidence)}
        rows.append({**named, **_numbers(value), "slope_p_bh": p_bh, "slope_p_holm": p_holm})
    return pl.DataFrame(rows, schema=INCREMENTAL_SCHEMA).with_columns(
        pl.col("slope_p_bh", "slope_p_holm").fill_nan(None)
    )


def incremental_verdict(evidence: IncrementalEvidence) -> str:
    """The first verdict whose rule applies."""
    return next(verdict for verdict, applies in _RULES if applies(evidence))


def _value(inputs: Inputs, signal: str, target: str) -> IncrementalTest:
    rows, settings = inputs.steps, inputs.options.ours
    controls = [name for name in CONTROLS if name != signal]
    return incremental_value_test(
        rows.columns([signal]), rows.columns([target]), rows.design, controls=rows.columns(controls), settings=settings
    )


def _numbers(value: IncrementalTest) -> dict[str, object]:
    numbers: dict[str, object] = {"n": value.rows, "runs": value.runs, "note": _note(value)}
    slope, mixed = value.regression, value.mixed
    numbers |= dict(zip(_SLOPES[:4], (slope.estimate, slope.low, slope.high, slope.p), strict=True))
    numbers |= dict(zip(_MIXED, (mixed.estimate, mixed.low, mixed.high, mixed.p), strict=True))
    if value.prediction is not None:
        for names, gain in ((_GAINS, value.prediction.spearman), (_R2, value.prediction.r_squared)):
            measured = (gain.without, gain.with_signal, gain.gain, gain.interval.low, gain.interval.high)
            numbers |= dict(zip(names, measured, strict=True))
    return numbers


def _note(value: IncrementalTest) -> str | None:
    reasons = [value.reason] if value.reason else [value.regression.reason, value.mixed.reason, value.mixed.note]
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason)) or None


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _leaves_out_zero(low: float | None, high: float | None) -> bool | None:
    return None if low is None or high is None else low > 0 or high < 0


def incremental_panels(frame: pl.DataFrame) -> list[TablePanel]:
    """The verdicts with their meaning, then a panel of verdicts and slopes for each outcome."""
    if frame["slope_low"].count() == 0:
        counts = frame["verdict"].value_counts(sort=True)
        return [TablePanel("No signal can be tested in this store; the file says why for each.", counts)]
    columns = ("slope", "slope_low", "slope_high", "slope_p_bh", "spearman_gain", "gain_low", "gain_high", "n", "runs")
    rows = {target: frame.filter(pl.col("target") == target) for target in frame["target"].unique(maintain_order=True)}
    panels = [
        TablePanel(f"{label(target)}.", part.select("signal", "verdict", *columns)) for target, part in rows.items()
    ]
    first = TablePanel("The first verdict that applies, from above, counts.", pl.DataFrame(), tuple(VERDICTS.items()))
    return [first, *panels]


def verdict_counts(frame: pl.DataFrame) -> str:
    """A sentence on the number of signals with each verdict for forgetting."""
    counts = frame.filter(pl.col("target") == HEADLINE_TARGET)["verdict"].value_counts(sort=True).rows()
    return "For forgetting: " + ", ".join(f"{count} × {verdict}" for verdict, count in counts) + "."


INCREMENTAL_TABLES: tuple[AnalysisTable, ...] = (
    AnalysisTable(
        "incremental",
        "What each signal adds to step index and norms",
        "Does a signal say anything about what was lost that the step index, the update norm and the state norm do "
        "not say already?",
        "A slope is of ranks and linear; with few runs much that is real is missed, so a verdict says what the data "
        "can tell, not what is true. A step's index, update norm and state norm are each tested beside the other two.",
        ("forgetting",),
        incremental,
        part="ours",
        shows=verdict_counts,
        panels=incremental_panels,
    ),
)
"""What signals add to the controls."""
