r"""Prediction of a target in held-out runs, with and without a signal.

Each run in turn is held out. A least-squares line is fitted on the other runs, with signal, controls and target
replaced by their midranks among those other runs,

    s(v) = (#{training values < v} - #{training values > v}) / (2 N),     in [-1/2, 1/2],

and predicts the held-out run's s(target). Out-of-sample Spearman is the rank correlation of all held-out predictions
with the target; R^2 = 1 - sum (s - prediction)^2 / sum s^2, where predicting the training mean gives 0.

The gain from the signal gets a jackknife over runs in which the whole procedure, fits included, is repeated without
each run in turn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geodiag.common.schema import defined
from geodiag.stats.design import Floats, Ints, Partition
from geodiag.stats.moments import CELLS
from geodiag.stats.ranks import Order, centred_ranks
from geodiag.stats.resampling import jackknife_bounds, too_few
from geodiag.stats.results import Interval


@dataclass(frozen=True)
class Gain:
    """One measure of prediction with and without the signal; None where undefined."""

    without: float | None
    """Controls only."""
    with_signal: float | None
    """Controls and signal."""
    gain: float | None
    """`with_signal` - `without`."""
    interval: Interval
    """Jackknife over runs of the gain."""


@dataclass(frozen=True)
class PredictionGain:
    """Gains in predictions for held-out runs."""

    spearman: Gain
    """Out-of-sample rank correlation; without controls there is no baseline, and no gain."""
    r_squared: Gain
    """Out-of-sample R^2 of midranks; negative when the training mean predicts better."""
    rows: int
    """Complete rows."""
    runs: int
    """Clusters, each held out once."""


def prediction_gain(
    signal: Floats, target: Floats, controls: Floats, clusters: Partition, *, level: float, least_runs: int
) -> PredictionGain:
    """Leave-one-run-out prediction with and without the signal.

    Args:
        signal: shape (n,), complete.
        target: shape (n,), complete.
        controls: shape (n, C), complete.
        clusters: the units held out, G of them.
        level: coverage of the intervals.
        least_runs: fewest clusters for an interval.
    """
    count = clusters.count
    columns = np.column_stack([target, controls, signal])
    folds = _folds(count)
    full = _predictions(columns, clusters, folds.training)
    base = _predictions(columns[:, :-1], clusters, folds.training)
    truth, ahead, before = (_held_out(p, folds, clusters.codes) for p in (full.truth, full.fitted, base.fitted))
    present = np.concatenate([np.ones((1, len(signal)), bool), clusters.codes != np.arange(count)[:, None]])
    scores = {
        "spearman": [_spearman(p, target, present) for p in (before, ahead)],
        "r_squared": [_r_squared(p, truth, present) for p in (before, ahead)],
    }
    if not controls.shape[1]:
        # Fold means predict held-out runs in reverse: the correlation of a constant is no baseline.
        scores["spearman"][0] = np.full(count + 1, np.nan)
    gains = {name: _gain(*pair, level=level, least_runs=least_runs) for name, pair in scores.items()}
    return PredictionGain(**gains, rows=len(signal), runs=count)


@dataclass(frozen=True)
class _Folds:
    """Training sets of the procedure on all runs and on all but one."""

    training: Floats
    """Ones and zeros, shape (F, G)."""
    index: Ints
    """Which training set predicts run g when run d is deleted (d = 0: none), shape (G + 1, G)."""


def _folds(count: int) -> _Folds:
    """Leave-one-out and leave-two-out sets; deleting d and holding out g is the same set as the reverse."""
    single = 1.0 - np.eye(count)
    first, second = np.triu_indices(count, 1)
    double = np.ones((len(first), count))
    double[np.arange(len(first)), first] = double[np.arange(len(first)), second] = 0.0
    index = np.tile(np.arange(count), (count + 1, 1)).astype(np.intp)
    index[first + 1, second] = index[second + 1, first] = count + np.arange(len(first))
    return _Folds(np.concatenate([single, double]), index)


@dataclass(frozen=True)
class _Predicted:
    truth: Floats
    fitted: Floats


def _predictions(columns: Floats, clusters: Partition, training: Floats) -> _Predicted:
    """Midranks of the target and their least-squares predictions from each training set, shapes (F, n)."""
    orders = [Order.of(column) for column in columns.T]
    chunk = max(1, CELLS // columns.size)
    parts = [
        _fit(orders, training[start : start + chunk].T[clusters.codes]) for start in range(0, len(training), chunk)
    ]
    return _Predicted(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _fit(orders: list[Order], weights: Floats) -> tuple[Floats, Floats]:
    """Targets and predictions of one chunk of training sets, shapes (F, n), from weights (n, F)."""
    scores = np.stack([order.centred(weights) for order in orders]) / weights.sum(axis=0)
    target, predictors = scores[0].T, np.moveaxis(scores[1:], 2, 0)
    # Midranks have mean 0 over the training rows, so there is no intercept to fit.
    weighted = predictors * weights.T[:, None, :]
    inverse = np.linalg.pinv(weighted @ np.swapaxes(predictors, 1, 2), rcond=1e-10, hermitian=True)
    slopes = inverse @ (weighted @ target[:, :, None])
    return target, (predictors * slopes).sum(axis=1)


def _held_out(by_fold: Floats, folds: _Folds, codes: Ints) -> Floats:
    """Each row's value in the fold that holds its run out, shape (G + 1, n)."""
    return by_fold[folds.index[:, codes], np.arange(len(codes))]


def _r_squared(predicted: Floats, truth: Floats, present: Floats) -> Floats:
    left, total = (((truth - p) ** 2 * present).sum(axis=1) for p in (predicted, 0.0))
    return np.where(total > 0, 1 - left / np.where(total > 0, total, 1.0), np.nan)


def _spearman(predicted: Floats, target: Floats, present: Floats) -> Floats:
    rho = np.full(len(present), np.nan)
    # Predictions that are equal but for rounding must be ranked as tied.
    predicted = np.round(predicted, 12)
    for d, rows in enumerate(present):
        ranks = centred_ranks(np.column_stack([predicted[d, rows], target[rows]]))
        squares = (ranks**2).sum(axis=0)
        if squares.all():
            rho[d] = ranks[:, 0] @ ranks[:, 1] / np.sqrt(squares.prod())
    return rho


def _gain(without: Floats, ahead: Floats, *, level: float, least_runs: int) -> Gain:
    gain = ahead - without
    few = too_few(len(gain) - 1, least=least_runs)
    if few or np.isnan(gain[0]):
        interval = Interval(None, None, 0, few or "the gain is undefined")
    else:
        bounds = jackknife_bounds(gain[0], gain[1:], level=level, fisher=False)
        reason = bounds.reason.item() if isinstance(bounds.reason, np.ndarray) else bounds.reason
        interval = Interval(defined(float(bounds.low)), defined(float(bounds.high)), 0, reason)
    return Gain(defined(without[0]), defined(ahead[0]), defined(gain[0]), interval)
