"""All numbers of one block: signals and targets that are complete on the same rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from geodiag.stats.arrays import Bools, Floats, Texts, unexplained
from geodiag.stats.correlation import correlations_at
from geodiag.stats.design import Design
from geodiag.stats.draws import Draws
from geodiag.stats.intervals import Bounds, jackknife_bounds, no_bounds, percentile_bounds, too_few
from geodiag.stats.moments import Shape, moment_source
from geodiag.stats.residuals import residual_scores
from geodiag.stats.settings import Settings
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


def resample(prepared: Prepared, shape: Shape, *, settings: Settings, draws: Draws) -> Resampled:
    """Evaluate the correlation at every weight vector that the intervals need, in one go."""
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


def interval_pair(sample: Resampled, runs: int, *, settings: Settings, fisher: bool) -> tuple[Bounds, Bounds]:
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
    """A block made ready, and what can be said of it."""

    prepared: Prepared | None
    """Its scores, or None if no pair can be correlated."""
    rows: int
    """Rows that count."""
    runs: int
    """Clusters among them."""
    reason: Texts
    """For each pair why it has no correlation, or None, shape (S, K)."""


def examine(block: Block, statistic: Statistic) -> Examined:
    """Prepare a block and look for columns that cannot be correlated."""
    rows, runs = len(block.values), block.design.clusters.count
    if rows < LEAST_ROWS:
        return Examined(None, rows, runs, _too_few(rows, "rows", block.shape))
    prepared = statistic.prepare(block.values, block.design)
    rows, runs = len(prepared.values), prepared.design.clusters.count
    if rows < LEAST_ROWS:
        return Examined(None, rows, runs, _too_few(rows, prepared.unit, block.shape))
    reason = _why_undefined(prepared, block)
    return Examined(prepared if unexplained(reason).any() else None, rows, runs, reason)


def _too_few(found: int, unit: str, shape: Shape) -> Texts:
    why = f"{found} complete {unit}, at least {LEAST_ROWS} are needed"
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
