"""Incremental value of a signal: its slope at fixed control columns, and its gain in predictions.

All columns are average ranks, centred and divided by n, so a slope is in units of the target's range of ranks:

    target = b_0 + b * signal + sum_c b_c * control_c + error
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from geodiag.errors import SettingsError
from geodiag.stats.design import Design, Floats, Ints, Partition
from geodiag.stats.estimates import LEAST_ROWS
from geodiag.stats.grid import Columns
from geodiag.stats.prediction import PredictionGain, prediction_gain
from geodiag.stats.ranks import centred_ranks
from geodiag.stats.resampling import ResamplingSettings, too_few


@dataclass(frozen=True)
class Coefficient:
    """The signal's coefficient in a regression with controls; None where undefined, with `reason`.

    All columns are average ranks, centred and divided by n: from the lowest to the highest signal the target
    moves by `estimate` times its own range of ranks.
    """

    estimate: float | None
    """The slope."""
    se: float | None
    """Its standard error."""
    low: float | None
    """Interval, lower end."""
    high: float | None
    """Interval, upper end."""
    p: float | None
    """Two-sided p-value of a slope of 0."""
    reason: str | None = None
    """Why it is undefined."""
    note: str | None = None
    """A remark of the fit."""


@dataclass(frozen=True)
class IncrementalTest:
    """Two slopes and a gain in prediction."""

    rows: int
    """Rows complete in signal, target and controls."""
    runs: int
    """Clusters among them."""
    regression: Coefficient
    """The signal's slope with controls, least squares on ranks, cluster-robust."""
    mixed: Coefficient
    """The same with an intercept of its own for each cluster."""
    prediction: PredictionGain | None
    """The gain in predictions for held-out runs; None with `reason`."""
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
    """Slope and gain in prediction of one signal with control columns.

    Args:
        signal: shape (n,), NaN where missing.
        target: shape (n,), NaN where missing.
        design: which run and cluster each row belongs to.
        controls: columns known without the signal, shape (n, C), such as the step or the update norm.
        settings: level and fewest runs; nothing is drawn.

    Raises:
        SettingsError: shapes that do not fit, infinite values, more than one signal or target.
    """
    columns = Columns.of(signal, target, controls, design)
    if columns.signals.shape[1] != 1 or columns.targets.shape[1] != 1:
        raise SettingsError("more than one signal or target", where="incremental_value", fix="one column each")
    used = settings or ResamplingSettings()
    x, y, controls, units = _complete(columns)
    reason = _why_no_test(x, y, units.clusters.count)
    if reason:
        undefined = undefined_slope(reason)
        return IncrementalTest(len(x), units.clusters.count, undefined, undefined, None, reason)
    scores = rank_scores(x, y, controls)
    return IncrementalTest(
        rows=len(x),
        runs=units.clusters.count,
        regression=robust_slope(scores, units.clusters, level=used.level, least_runs=used.least_runs),
        mixed=mixed_slope(scores, units.clusters, level=used.level, least_runs=used.least_runs),
        prediction=prediction_gain(x, y, controls, units.clusters, level=used.level, least_runs=used.least_runs),
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


def _why_no_test(signal: Floats, target: Floats, clusters: int) -> str | None:
    if len(signal) < LEAST_ROWS:
        return f"{len(signal)} complete rows, at least {LEAST_ROWS} are needed"
    if clusters < LEAST_ROWS:
        return f"{clusters} runs, at least {LEAST_ROWS} are needed to hold one out"
    for name, column in (("signal", signal), ("target", target)):
        if (column == column[0]).all():
            return f"{name} is constant"
    return None


def undefined_slope(reason: str) -> Coefficient:
    """An undefined slope with its reason."""
    return Coefficient(None, None, None, None, None, reason)


def rank_scores(signal: Floats, target: Floats, controls: Floats) -> tuple[Floats, Floats]:
    """Target scores (n,) and the design (n, 2 + C): intercept, signal, controls, as ranks over n."""
    scores = centred_ranks(np.column_stack([target, signal, controls])) / len(signal)
    return scores[:, 0], np.column_stack([np.ones(len(signal)), scores[:, 1:]])


def _why_no_slope(target: Floats, design: Floats) -> str | None:
    """The reason the signal's slope is not identified, or None if it is."""
    n, columns = design.shape
    if n <= columns:
        return f"{n} complete rows for {columns} coefficients"
    if _explains(np.delete(design, 1, axis=1), design[:, 1]):
        return "nothing of the signal is left beside the controls"
    return "signal and controls give the target exactly" if _explains(design, target) else None


def _explains(design: Floats, column: Floats) -> bool:
    left = column - design @ np.linalg.lstsq(design, column, rcond=None)[0]
    return bool(left @ left <= 1e-10 * (column @ column))


def robust_slope(scores: tuple[Floats, Floats], clusters: Partition, *, level: float, least_runs: int) -> Coefficient:
    """Least squares with cluster-robust standard errors and t(G - 1) quantiles.

    Args:
        scores: from `rank_scores`.
        clusters: the independent units, G of them.
        level: coverage of the interval.
        least_runs: with fewer clusters the slope has no standard error.
    """
    target, design = scores
    if reason := _why_no_slope(target, design):
        return undefined_slope(reason)
    from statsmodels.regression.linear_model import OLS

    few = too_few(clusters.count, least=least_runs)
    if few:
        return Coefficient(float(OLS(target, design).fit().params[1]), None, None, None, None, few)
    fit = OLS(target, design).fit(cov_type="cluster", cov_kwds={"groups": clusters.codes}, use_t=True)
    return _coefficient(fit, level=level)


def mixed_slope(scores: tuple[Floats, Floats], clusters: Partition, *, level: float, least_runs: int) -> Coefficient:
    """A mixed model with an intercept of its own for each run, by restricted maximum likelihood.

    Standard errors come from the observed information, intervals and p-values from normal quantiles, which at few
    runs are a little too narrow; those of `robust_slope` are not.

    Args:
        scores: from `rank_scores`.
        clusters: the units with an intercept of their own.
        level: coverage of the interval.
        least_runs: fewest clusters to tell a spread of intercepts from.
    """
    target, design = scores
    if reason := _why_no_slope(target, design) or too_few(clusters.count, least=least_runs):
        return undefined_slope(reason)
    fit, note = _fit_mixed(target, design, clusters.codes)
    if fit is None:
        return undefined_slope(note or "")
    return _coefficient(fit, level=level, note=note)


def _fit_mixed(target: Floats, design: Floats, codes: Ints) -> tuple[Any, str | None]:
    """The fit with a remark; None and the reason if it did not converge or has no standard error."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    with warnings.catch_warnings():
        # A failed or boundary fit is reported in the result instead. Powell's method, because the default ones can
        # stop at a spread of 0 and call it converged.
        warnings.simplefilter("ignore")
        try:
            fit = MixedLM(target, design, groups=codes).fit(reml=True, method=["powell"])
        except np.linalg.LinAlgError as error:
            return None, f"the mixed model could not be fitted ({error})"
        finite = bool(np.isfinite(fit.bse[1]) and fit.bse[1] > 0)
    if not fit.converged:
        return None, "the mixed model did not converge"
    if not finite:
        return None, "the mixed model has no standard error for the signal"
    spread = float(np.asarray(fit.cov_re).item())
    return fit, "runs differ by no more than chance" if spread < 1e-8 * target.var() else None


def _coefficient(fit: Any, *, level: float, note: str | None = None) -> Coefficient:
    low, high = np.asarray(fit.conf_int(alpha=1 - level))[1]
    return Coefficient(
        float(fit.params[1]), float(fit.bse[1]), float(low), float(high), float(fit.pvalues[1]), None, note
    )
