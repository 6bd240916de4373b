"""Estimates, intervals and p-values of one block: signals and targets complete on the same rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geodiag.stats.correlation import correlations_at, residual_scores
from geodiag.stats.design import Bools, Design, Floats, Texts, first_reason, unexplained
from geodiag.stats.moments import Shape, moment_source
from geodiag.stats.p_values import Permuted, common_places, free_permutation, undefined, whole_run_permutation
from geodiag.stats.resampling import (
    Bounds,
    Draws,
    ResamplingSettings,
    jackknife_bounds,
    no_bounds,
    percentile_bounds,
    too_few,
)
from geodiag.stats.statistics import Prepared, Statistic

LEAST_ROWS = 3
"""Two rows always correlate perfectly."""


@dataclass(frozen=True)
class Block:
    """Complete columns and the labels of their rows."""

    values: Floats
    """Signals, targets and controls side by side, shape (n, S + K + C)."""
    shape: Shape
    """How many of each."""
    design: Design
    """The rows' labels."""

    def take(self, rows: Bools) -> Block:
        """The block on some of its rows."""
        return replace(self, values=self.values[rows], design=self.design.take(rows))


@dataclass(frozen=True)
class Resampled:
    """A correlation on the sample, without each cluster, and in each resample."""

    estimate: Floats
    """Shape (S, K)."""
    left_out: Floats
    """Shape (G, S, K)."""
    resampled: Floats
    """Shape (B, S, K)."""


def resample(prepared: Prepared, shape: Shape, *, settings: ResamplingSettings, draws: Draws) -> Resampled:
    """The correlation at every weight vector that the intervals need, in one evaluation."""
    clusters = prepared.design.clusters
    needed = [np.ones((1, clusters.count))]
    if clusters.count >= settings.least_runs:
        needed.append(clusters.leave_one_out())
    jackknifed = sum(map(len, needed))
    if settings.resamples and clusters.count >= settings.least_runs_percentile:
        needed.append(draws.resamples(clusters.count, size=settings.resamples))
    weights = np.concatenate(needed)
    rho = correlations_at(moment_source(prepared, shape, resamples=len(weights)), weights)
    return Resampled(rho[0], rho[1:jackknifed], rho[jackknifed:])


def interval_pair(sample: Resampled, runs: int, *, settings: ResamplingSettings, fisher: bool) -> tuple[Bounds, Bounds]:
    """The jackknife and the percentile interval, with reasons where there is none."""
    shape = sample.estimate.shape
    few = too_few(runs, least=settings.least_runs)
    first = (
        no_bounds(shape, few)
        if few
        else jackknife_bounds(sample.estimate, sample.left_out, level=settings.level, fisher=fisher)
    )
    if not settings.resamples:
        return first, no_bounds(shape, "no resamples were asked for")
    few = too_few(runs, least=settings.least_runs_percentile)
    return first, no_bounds(shape, few) if few else percentile_bounds(sample.resampled, level=settings.level)


@dataclass(frozen=True)
class Examined:
    """A block prepared for correlation, with the reasons for undefined pairs."""

    prepared: Prepared | None
    """Its scores, or None if no pair can be correlated."""
    rows: int
    """Rows that count."""
    runs: int
    """Clusters among them."""
    reason: Texts
    """For each pair why it has no correlation, or None, shape (S, K)."""


def examine(block: Block, statistic: Statistic) -> Examined:
    """Prepare a block and give a reason for each pair that cannot be correlated."""
    rows, runs = len(block.values), block.design.clusters.count
    if rows < LEAST_ROWS:
        return Examined(None, rows, runs, _too_few(rows, "rows", block.shape))
    prepared = statistic.prepare(block.values, block.design)
    rows, runs = len(prepared.values), prepared.design.clusters.count
    if rows < LEAST_ROWS:
        return Examined(None, rows, runs, _too_few(rows, prepared.unit, block.shape))
    reason = _why_undefined(prepared, block)
    return Examined(prepared if unexplained(reason).any() else None, rows, runs, reason)


def _too_few(count: int, unit: str, shape: Shape) -> Texts:
    why = f"{count} complete {unit}, at least {LEAST_ROWS} are needed"
    return np.full((shape.signals, shape.targets), why, dtype=object)


def _why_undefined(prepared: Prepared, block: Block) -> Texts:
    shape = block.shape
    reasons = np.full((shape.signals, shape.targets), None, dtype=object)
    residuals = residual_scores(prepared, shape)
    constant = (block.values == block.values[:1]).all(axis=0)
    for k in np.flatnonzero(~residuals.targets.any(axis=0)):
        reasons[:, k] = _lost("target", constant=bool(constant[shape.signals + k]))
    for s in np.flatnonzero(~residuals.signals.any(axis=0)):
        reasons[s, :] = _lost("signal", constant=bool(constant[s]))
    return reasons


def _lost(name: str, *, constant: bool) -> str:
    return f"{name} is constant" if constant else f"nothing of the {name} is left to correlate"


def solve(block: Block, statistic: Statistic, *, settings: ResamplingSettings, draws: Draws) -> dict[str, Any]:
    """The arrays of a grid for one block; those that are missing stay undefined."""
    examined = examine(block, statistic)
    arrays = {"rows": examined.rows, "runs": examined.runs, "reason": examined.reason}
    if examined.prepared is None:
        kinds = ("interval_reason", "percentile_reason", "p_reason", "free_reason")
        return arrays | dict.fromkeys(kinds, examined.reason)
    defined = unexplained(examined.reason)
    sample = resample(examined.prepared, block.shape, settings=settings, draws=draws)
    jackknife, percentile = interval_pair(sample, examined.runs, settings=settings, fisher=True)
    arrays |= {
        "estimate": np.where(defined, sample.estimate, np.nan),
        "low": jackknife.low,
        "high": jackknife.high,
        "interval_reason": first_reason(examined.reason, jackknife.reason),
        "percentile_low": percentile.low,
        "percentile_high": percentile.high,
        "percentile_reason": first_reason(examined.reason, percentile.reason),
        "dropped": np.where(defined, percentile.dropped, 0),
    }
    return arrays | _p_values(block, examined.prepared, statistic, examined.reason, settings=settings, draws=draws)


def _p_values(
    block: Block, prepared: Prepared, statistic: Statistic, reason: Texts, *, settings: ResamplingSettings, draws: Draws
) -> dict[str, Any]:
    free = _free(block, prepared, statistic, settings=settings, draws=draws)
    tested, rows, why = _whole_run(block, prepared, statistic, reason, settings=settings, draws=draws)
    return {
        "p_whole_run": tested.p,
        "arrangements": tested.arrangements,
        "exact": tested.exact,
        "p_rows": rows,
        "p_reason": first_reason(why, tested.reason),
        "p_free": free.p,
        "free_arrangements": free.arrangements,
        "free_reason": first_reason(reason, free.reason),
    }


def _free(
    block: Block, prepared: Prepared, statistic: Statistic, *, settings: ResamplingSettings, draws: Draws
) -> Permuted:
    if not statistic.moves_rows:
        return undefined(block.shape, "this correlation is one of whole runs, not of single rows")
    if not (settings.free and settings.permutations):
        return undefined(block.shape, "not asked for")
    residuals = residual_scores(prepared, block.shape)
    return free_permutation(residuals, size=settings.permutations, draws=draws)


def _whole_run(
    block: Block,
    prepared: Prepared,
    statistic: Statistic,
    reason: Texts,
    *,
    settings: ResamplingSettings,
    draws: Draws,
) -> tuple[Permuted, int, Texts]:
    """The p-value, how many rows it used, and for each pair why it has none."""
    if not settings.permutations:
        return undefined(block.shape, "not asked for"), 0, reason
    match = block.design.match
    if settings.unequal == "common" and match is not None:
        shared = common_places(block.design.clusters.codes, match)
        if not shared.any():
            return undefined(block.shape, "no step is common to all runs"), 0, reason
        trimmed = examine(block.take(shared), statistic)
        if trimmed.prepared is None:
            return undefined(block.shape, ""), 0, first_reason(reason, trimmed.reason)
        prepared, reason = trimmed.prepared, first_reason(reason, trimmed.reason)
    residuals = residual_scores(prepared, block.shape)
    tested = whole_run_permutation(residuals, prepared.design, size=settings.permutations, draws=draws)
    return tested, len(prepared.values) if tested.reason is None else 0, reason
