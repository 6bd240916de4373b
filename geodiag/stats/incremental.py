"""Does a signal say anything about a target that given columns do not say already?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from geodiag.errors import SettingsError
from geodiag.stats.design import Design, Floats
from geodiag.stats.estimates import LEAST_ROWS
from geodiag.stats.grid import Columns
from geodiag.stats.prediction import PredictionGain, prediction_gain
from geodiag.stats.regression import Coefficient, mixed_slope, rank_scores, robust_slope, undefined_slope
from geodiag.stats.resampling import ResamplingSettings


@dataclass(frozen=True)
class IncrementalTest:
    """Three answers, from the most to the least model-bound."""

    rows: int
    """Rows complete in signal, target and controls."""
    runs: int
    """Clusters among them."""
    regression: Coefficient
    """The signal's slope beside the controls', least squares on ranks, cluster-robust."""
    mixed: Coefficient
    """The same with an intercept of its own for each cluster."""
    prediction: PredictionGain | None
    """What it adds to predictions for runs held out; None with `reason`."""
    reason: str | None
    """Why there is no prediction."""


def incremental_value_test(
    signal: ArrayLike,
    target: ArrayLike,
    design: Design,
    *,
    controls: ArrayLike | None = None,
    settings: ResamplingSettings | None = None,
) -> IncrementalTest:
    """What one signal adds to the control columns.

    Args:
        signal: shape (n,), NaN where missing.
        target: shape (n,), NaN where missing.
        design: which run and cluster each row belongs to.
        controls: columns that are known anyway, shape (n, C), such as the step or the update norm.
        settings: level and fewest runs; nothing is drawn.

    Raises:
        SettingsError: shapes that do not fit, infinite values, more than one signal or target.
    """
    columns = Columns.of(signal, target, controls, design)
    if columns.signals.shape[1] != 1 or columns.targets.shape[1] != 1:
        raise SettingsError("more than one signal or target", where="incremental_value", fix="one column each")
    used = settings or ResamplingSettings()
    x, y, held, units = _complete(columns)
    reason = _why_not(x, y, units.clusters.count)
    if reason:
        nothing = undefined_slope(reason)
        return IncrementalTest(len(x), units.clusters.count, nothing, nothing, None, reason)
    scores = rank_scores(x, y, held)
    return IncrementalTest(
        rows=len(x),
        runs=units.clusters.count,
        regression=robust_slope(scores, units.clusters, level=used.level, least_runs=used.least_runs),
        mixed=mixed_slope(scores, units.clusters, level=used.level, least_runs=used.least_runs),
        prediction=prediction_gain(x, y, held, units.clusters, level=used.level, least_runs=used.least_runs),
        reason=None,
    )


def _complete(columns: Columns) -> tuple[Floats, Floats, Floats, Design]:
    everything = np.concatenate([columns.signals, columns.targets, columns.controls], axis=1)
    rows = ~np.isnan(everything).any(axis=1)
    return (
        columns.signals[rows, 0],
        columns.targets[rows, 0],
        columns.controls[rows],
        columns.design.take(rows),
    )


def _why_not(signal: Floats, target: Floats, clusters: int) -> str | None:
    if len(signal) < LEAST_ROWS:
        return f"{len(signal)} complete rows, at least {LEAST_ROWS} are needed"
    if clusters < LEAST_ROWS:
        return f"{clusters} runs, at least {LEAST_ROWS} are needed to hold one out"
    for name, column in (("signal", signal), ("target", target)):
        if (column == column[0]).all():
            return f"{name} is constant"
    return None
