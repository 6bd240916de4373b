"""Regression of ranks on ranks: least squares with cluster-robust errors, and a mixed model with run intercepts."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from geodiag.stats.design import Floats, Ints, Partition
from geodiag.stats.ranks import centred_ranks
from geodiag.stats.resampling import too_few


@dataclass(frozen=True)
class Coefficient:
    """The signal's coefficient beside the controls'; None where undefined, and `reason` says why.

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
    """What the fit reported besides."""


def undefined_slope(reason: str) -> Coefficient:
    """No slope, and why."""
    return Coefficient(None, None, None, None, None, reason)


def rank_scores(signal: Floats, target: Floats, controls: Floats) -> tuple[Floats, Floats]:
    """Target scores (n,) and the design (n, 2 + C): intercept, signal, controls, as ranks over n."""
    scores = centred_ranks(np.column_stack([target, signal, controls])) / len(signal)
    return scores[:, 0], np.column_stack([np.ones(len(signal)), scores[:, 1:]])


def why_not(target: Floats, design: Floats) -> str | None:
    """Why the signal's slope cannot be told from the controls', or None if it can."""
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
        least_runs: with fewer clusters the slope stands without an error.
    """
    target, design = scores
    if reason := why_not(target, design):
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
    runs are a little too sure of themselves; `robust_slope` is not.

    Args:
        scores: from `rank_scores`.
        clusters: the units with an intercept of their own.
        level: coverage of the interval.
        least_runs: fewest clusters to tell a spread of intercepts from.
    """
    target, design = scores
    if reason := why_not(target, design) or too_few(clusters.count, least=least_runs):
        return undefined_slope(reason)
    fit, note = _fit_mixed(target, design, clusters.codes)
    if fit is None:
        return undefined_slope(note or "")
    return _coefficient(fit, level=level, note=note)


def _fit_mixed(target: Floats, design: Floats, codes: Ints) -> tuple[Any, str | None]:
    """The fit, and what was said about it; no fit if it did not converge or has no standard error."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    with warnings.catch_warnings():
        # A failed or boundary fit is told by the result, in our words. Powell's method, because the default ones
        # can stop at a spread of 0 and call it converged.
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
