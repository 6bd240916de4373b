"""Three sentences on what explains forgetting in a store, from its tables `confounds` and `incremental`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import polars as pl

from geodiag.common.text import listed
from geodiag.signals.catalog import HEADLINE_TARGET, in_text
from geodiag.tables.format import estimate_text, number_text, p_value
from geodiag.tables.incremental import ADDS, DIFFERS_BY_RUN, FOLLOWS_NORMS, FOLLOWS_STEP, NO_MORE, NOTHING, TESTED
from geodiag.tables.options import Options

_BASELINES = "step index, update norm and state norm"
_TAILS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        FOLLOWS_STEP: ("cannot be told from the step index", "cannot be told from the step index"),
        DIFFERS_BY_RUN: ("tells runs apart, not steps", "tell runs apart, not steps"),
        FOLLOWS_NORMS: ("cannot be told from the norms", "cannot be told from the norms"),
        NO_MORE: (f"adds nothing to {_BASELINES} together", f"add nothing to {_BASELINES} together"),
        NOTHING: ("shows no clear relation", "show no clear relation"),
    }
)
"""The end of a sentence about one signal with a verdict, and about several."""


@dataclass(frozen=True)
class Facts:
    """The numbers of the sentences."""

    confounds: pl.DataFrame
    """The rows of `confounds` on forgetting."""
    verdicts: Mapping[str, str]
    """The verdict of `incremental` on each signal but the step index."""
    options: Options
    """The options that both were computed with."""

    @classmethod
    def of(cls, confounds: pl.DataFrame, incremental: pl.DataFrame, options: Options) -> Facts:
        """The rows of both tables on forgetting."""
        about = pl.col("target") == HEADLINE_TARGET
        rows = incremental.filter(about, pl.col("signal") != "step")
        return cls(confounds.filter(about), dict(zip(rows["signal"], rows["verdict"], strict=True)), options)

    def cell(self, signal: str, way: str) -> dict[str, Any]:
        """One correlation with forgetting."""
        chosen = (pl.col("signal") == signal) & (pl.col("correlation") == way)
        return self.confounds.row(by_predicate=chosen, named=True)

    def ranked(self) -> list[dict[str, Any]]:
        """Pooled correlations, the closest first, without sums of norms."""
        pooled = self.confounds.filter(pl.col("correlation") == "pooled", pl.col("signal").is_in(TESTED))
        return pooled.drop_nulls("rho").sort(pl.col("rho").abs(), descending=True, maintain_order=True).rows(named=True)

    def signals(self, verdict: str) -> list[str]:
        """Labels of the signals with a verdict, for a sentence."""
        return [in_text(signal) for signal, given in self.verdicts.items() if given == verdict]

    @property
    def unit(self) -> str:
        """The noun for independent units."""
        return "runs" if self.options.cluster == "run" else f"groups of runs ({self.options.cluster})"


def summarise(confounds: pl.DataFrame, incremental: pl.DataFrame, options: Options) -> list[str]:
    """Three sentences; one where nothing was measured.

    Args:
        confounds: the table of that name.
        incremental: the table of that name.
        options: the options that they were computed with.
    """
    facts = Facts.of(confounds, incremental, options)
    ranked = facts.ranked()
    if not ranked:
        return ["No signal can be held against forgetting in this store: nothing varies, or too few steps were scored."]
    few = all(row["low"] is None for row in ranked)
    opening = (
        [_too_few(facts, ranked), _closest_few(facts, ranked)] if few else [_explains(facts, ranked), _does_not(facts)]
    )
    return [*opening, _step_index(facts, ranked)]


def _too_few(facts: Facts, ranked: Sequence[dict[str, Any]]) -> str:
    count = max(row["runs"] for row in ranked)
    unit = facts.unit if count != 1 else facts.unit.replace("runs", "run", 1).replace("groups", "group", 1)
    return (
        f"With {count} {unit} no interval is possible ({facts.options.least_runs} are needed): what follows describes "
        f"{'this run' if count == 1 else 'these runs'} and says nothing about others."
    )


def _closest_few(facts: Facts, ranked: Sequence[dict[str, Any]]) -> str:
    first, fixed = ranked[0], facts.cell(ranked[0]["signal"], "step_partial")["rho"]
    at_step = "" if fixed is None else f", at a fixed step {number_text(fixed)}"
    rho = f"ρ = {number_text(first['rho'])}{at_step}"
    sentence = f"Over their {first['n']} steps the {in_text(first['signal'])} ({rho}) goes most "
    sentence += "closely with forgetting"
    if len(ranked) > 1:
        sentence += f", then {_signal(ranked[1])}"
    if len(ranked) > 2:
        sentence += f", and least of all the {in_text(ranked[-1]['signal'])} (ρ = {number_text(ranked[-1]['rho'])})"
    return f"{sentence}."


def _explains(facts: Facts, ranked: Sequence[dict[str, Any]]) -> str:
    first, adds = ranked[0], facts.signals(ADDS)
    sentence = f"Over {first['n']} steps of {first['runs']} {facts.unit}, {_signal(first)} goes most closely with "
    sentence += "forgetting"
    if len(ranked) > 1:
        sentence += f", then {_signal(ranked[1])}"
    if not adds:
        return f"{sentence}. Once {_BASELINES} are known, no signal adds anything that can be told from chance."
    verb = "adds" if len(adds) == 1 else "add"
    return f"{sentence}. Once {_BASELINES} are known, the {listed(adds)} still {verb} something."


def _does_not(facts: Facts) -> str:
    signals = {verdict: names for verdict in _TAILS if (names := facts.signals(verdict))}
    if not signals:
        return "Every signal that was measured says something of its own."
    if list(signals) == [NOTHING] and not facts.signals(ADDS):
        return f"What does not explain it: none of the {len(signals[NOTHING])} signals shows a clear relation."
    parts = [f"the {listed(names)} {_TAILS[verdict][len(names) > 1]}" for verdict, names in signals.items()]
    return f"What does not explain it: {'; '.join(parts)}."


def _step_index(facts: Facts, ranked: Sequence[dict[str, Any]]) -> str:
    rows = {row["signal"]: row for row in ranked}
    if "step" not in rows:
        return "The bare step index does not vary here, so no signal can be held against it."
    place = list(rows).index("step") + 1
    sentence = (
        f"The bare step index, which a useful signal must beat, ranks {place} of {len(rows)} ({_bracket(rows['step'])})"
    )
    if "global_gap" not in rows:
        return f"{sentence}; the global gap was not measured."
    return (
        f"{sentence}; the global gap, which is 2/(t+1) times the state gap where all t tasks are active and so carries "
        f"the step index, {_gap(facts, rows['global_gap'])}."
    )


def _gap(facts: Facts, pooled: dict[str, Any]) -> str:
    fixed = facts.cell("global_gap", "step_partial")
    if fixed["rho"] is None:
        return f"has ρ = {number_text(pooled['rho'])}"
    return f"goes from ρ = {_estimate(pooled)} to {_estimate(fixed)} at a fixed step"


def _signal(row: dict[str, Any]) -> str:
    return f"the {in_text(row['signal'])} ({_bracket(row)})"


def _bracket(row: dict[str, Any]) -> str:
    p = row["p_whole_run"]
    return f"ρ = {_estimate(row)}" + ("" if p is None else f", whole-run p {'' if p < 0.001 else '= '}{p_value(p)}")


def _estimate(row: dict[str, Any]) -> str:
    return estimate_text(row["rho"], row["low"], row["high"])
