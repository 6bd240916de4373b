import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm, rankdata, spearmanr, t

from geodiag.errors import SettingsError
from geodiag.stats import Design, ResamplingSettings, incremental_value_test
from tests.stats.samples import panel


def ranks(column):
    return (rankdata(column) - (len(column) + 1) / 2) / len(column)


def study(seed, *, runs=12, steps=6, effect=0.6, spread=1.0, ragged=True):
    rng = np.random.default_rng(seed)
    run, step = np.divmod(np.arange(runs * steps), steps)
    if ragged:
        kept = step < rng.integers(4, steps + 1, runs)[run]
        run, step = run[kept], step[kept]
    x = rng.normal(size=len(run)) + rng.normal(size=runs)[run]
    y = effect * x + 0.3 * step + rng.normal(size=len(run)) + spread * rng.normal(size=runs)[run]
    return x, y, run, step


def matrices(x, y, step):
    return ranks(y), np.column_stack([np.ones(len(x)), ranks(x), ranks(step)])


def test_the_slope_is_least_squares_with_a_cluster_sandwich():
    x, y, run, step = study(0)
    found = incremental_value_test(x, y, Design.from_labels(run), controls=step).regression
    target, held = matrices(x, y, step)
    n, k = held.shape
    bread = np.linalg.inv(held.T @ held)
    slope = bread @ held.T @ target
    scores = np.stack([held[run == r].T @ (target - held @ slope)[run == r] for r in range(12)])
    small = 12 / 11 * (n - 1) / (n - k)
    se = np.sqrt((small * bread @ (scores.T @ scores) @ bread)[1, 1])
    assert found.estimate == pytest.approx(slope[1])
    assert found.se == pytest.approx(se)
    assert found.p == pytest.approx(2 * t(11).sf(abs(slope[1] / se)))
    assert (found.low, found.high) == pytest.approx(t(11, slope[1], se).interval(0.95))


def restricted_fit(target, held, run):
    """Random intercepts by restricted likelihood, profiled over the ratio of variances, with dense matrices."""
    n, k = held.shape
    together = (run[:, None] == run).astype(float)

    def pieces(ratio):
        inverse = np.linalg.inv(np.eye(n) + ratio * together)
        precision = held.T @ inverse @ held
        slope = np.linalg.solve(precision, held.T @ inverse @ target)
        left = target - held @ slope
        return inverse, precision, slope, left @ inverse @ left / (n - k)

    def deviance(log_ratio):
        inverse, precision, _, variance = pieces(np.exp(log_ratio))
        logs = np.linalg.slogdet(precision)[1] - np.linalg.slogdet(inverse)[1]
        return (n - k) * np.log(variance) + logs

    best = minimize_scalar(deviance, bounds=(-16, 6), method="bounded", options={"xatol": 1e-9})
    _, precision, slope, variance = pieces(np.exp(best.x))
    return slope[1], np.sqrt(variance * np.linalg.inv(precision)[1, 1])


@pytest.mark.parametrize("spread", [1.0, 0.4, 0.0])
def test_the_mixed_model_is_restricted_maximum_likelihood(spread):
    x, y, run, step = study(1, spread=spread)
    found = incremental_value_test(x, y, Design.from_labels(run), controls=step).mixed
    slope, se = restricted_fit(*matrices(x, y, step), run)
    assert found.estimate == pytest.approx(slope, abs=1e-4)
    # The observed information lets the slope covary with the variances, the textbook's does not.
    assert found.se == pytest.approx(se, rel=0.04)
    assert found.p == pytest.approx(2 * norm.sf(abs(found.estimate / found.se)))
    half = norm.ppf(0.975) * found.se
    assert (found.low, found.high) == pytest.approx((found.estimate - half, found.estimate + half))
    assert found.reason is None


def midranks(column, training):
    return np.array([((training < v).sum() - (training > v).sum()) / (2 * len(training)) for v in column])


def left_out_scores(columns, run):
    """Truth and prediction of each row by a fit on the other runs."""
    truth, fitted = np.empty((2, len(run)))
    for r in np.unique(run):
        out = run == r
        scores = [midranks(c, c[~out]) for c in columns]
        slopes = np.linalg.lstsq(np.stack(scores[1:], 1)[~out], scores[0][~out], rcond=None)[0] if scores[1:] else []
        truth[out] = scores[0][out]
        fitted[out] = np.stack(scores[1:], 1)[out] @ slopes if scores[1:] else 0.0
    return truth, fitted


def gains(x, y, step, run):
    (truth, full), (_, base) = left_out_scores([y, step, x], run), left_out_scores([y, step], run)
    r2 = [1 - ((truth - p) ** 2).sum() / (truth**2).sum() for p in (base, full)]
    rho = [spearmanr(np.round(p, 12), y)[0] for p in (base, full)]
    return np.array([*rho, *r2])


def test_prediction_is_refitted_without_each_run():
    x, y, run, step = study(2, runs=7, steps=5)
    found = incremental_value_test(x, y, Design.from_labels(run), controls=step).prediction
    whole = gains(x, y, step, run)
    without = np.stack([gains(x[run != r], y[run != r], step[run != r], run[run != r]) for r in range(7)])
    for measure, base, full in ((found.spearman, 0, 1), (found.r_squared, 2, 3)):
        assert measure.without == pytest.approx(whole[base], abs=1e-9)
        assert measure.with_signal == pytest.approx(whole[full], abs=1e-9)
        assert measure.gain == pytest.approx(whole[full] - whole[base], abs=1e-9)
        left = without[:, full] - without[:, base]
        reach = t(6).ppf(0.975) * np.sqrt(6 / 7 * ((left - left.mean()) ** 2).sum())
        expected = (measure.gain - reach, measure.gain + reach)
        assert (measure.interval.low, measure.interval.high) == pytest.approx(expected, abs=1e-9)


def test_without_controls_there_is_no_baseline_correlation():
    x, y, run, _ = study(3)
    found = incremental_value_test(x, y, Design.from_labels(run)).prediction
    assert found.spearman.without is found.spearman.gain is found.spearman.interval.low is None
    assert found.spearman.with_signal > 0
    assert found.r_squared.without == 0
    assert found.r_squared.gain == found.r_squared.with_signal


def test_a_signal_that_matters_and_one_that_does_not():
    x, y, run, step = study(4, runs=20, effect=1.0)
    noise = np.random.default_rng(0).normal(size=len(x))
    design = Design.from_labels(run)
    matters, does_not = (incremental_value_test(v, y, design, controls=step) for v in (x, noise))
    assert matters.regression.low > 0
    assert matters.mixed.low > 0
    assert matters.prediction.r_squared.interval.low > 0
    assert does_not.regression.low < 0 < does_not.regression.high
    assert does_not.mixed.low < 0 < does_not.mixed.high
    assert does_not.prediction.r_squared.interval.low < 0


def test_gaps_are_left_out():
    x, y, run, step = study(5)
    x[3], y[7] = np.nan, np.nan
    known = ~np.isnan(x + y)
    found = incremental_value_test(x, y, Design.from_labels(run), controls=step)
    expected = incremental_value_test(x[known], y[known], Design.from_labels(run[known]), controls=step[known])
    assert found == expected
    assert found.rows == len(x) - 2


def test_fits_do_not_depend_on_the_size_of_a_batch(monkeypatch):
    x, y, run, step = study(6)
    design = Design.from_labels(run)
    whole = incremental_value_test(x, y, design, controls=step).prediction
    monkeypatch.setattr("geodiag.stats.prediction.CELLS", 1)
    pieces = incremental_value_test(x, y, design, controls=step).prediction
    for one, other in ((pieces.spearman, whole.spearman), (pieces.r_squared, whole.r_squared)):
        assert (one.gain, one.interval.low) == pytest.approx((other.gain, other.interval.low), abs=1e-12)


def test_a_signal_the_controls_know_already():
    x, y, run, _ = study(7)
    found = incremental_value_test(np.exp(x), y, Design.from_labels(run), controls=x)
    assert found.regression.reason == found.mixed.reason == "nothing of the signal is left beside the controls"
    assert found.prediction.r_squared.gain == pytest.approx(0, abs=1e-9)


def test_a_mixed_model_that_cannot_be_fitted_says_so():
    x, _, run, step = study(8, runs=8)
    level = np.arange(8.0)[run]  # the target is the run's own level, exactly
    found = incremental_value_test(x, level, Design.from_labels(run), controls=step)
    assert found.mixed.estimate is found.mixed.p is None
    assert found.mixed.reason.startswith("the mixed model")
    assert found.regression.estimate is not None


def test_a_target_that_is_the_signal_has_no_error():
    x, _, run, step = study(12)
    found = incremental_value_test(x, 2 * x, Design.from_labels(run), controls=step)
    assert found.regression.reason == found.mixed.reason == "signal and controls give the target exactly"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda x, y, run: (x, y, run % 2), "2 runs, at least 3 are needed to hold one out"),
        (lambda x, y, run: (x * 0, y, run), "signal is constant"),
        (lambda x, y, run: (x, y * 0, run), "target is constant"),
        (lambda x, y, run: (np.full_like(x, np.nan), y, run), "0 complete rows, at least 3 are needed"),
    ],
)
def test_what_cannot_be_answered_says_why(change, reason):
    x, y, run = change(*study(9)[:3])
    found = incremental_value_test(x, y, Design.from_labels(run))
    assert found.reason == found.regression.reason == found.mixed.reason == reason
    assert found.prediction is None


def test_few_runs_have_slopes_but_no_errors():
    x, y, run, step = study(10, runs=5)
    found = incremental_value_test(x, y, Design.from_labels(run), controls=step, settings=ResamplingSettings())
    assert found.regression.estimate is not None
    assert found.regression.se is None
    assert found.regression.reason == found.mixed.reason == "5 runs, at least 6 are needed"
    assert found.prediction.r_squared.interval.reason == "5 runs, at least 6 are needed"


def test_one_signal_at_a_time():
    x, y, run, _ = panel(11)
    with pytest.raises(SettingsError, match="one column each"):
        incremental_value_test(x, y[:, 0], Design.from_labels(run))
