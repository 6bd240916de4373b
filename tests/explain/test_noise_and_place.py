"""Intervals against statsmodels, critical values against simulation."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from geodiag.stats.placement import CRITICAL, CRITICAL_TREND, Reference, critical_value, place_among, place_step
from geodiag.stats.score_noise import SampledScore, items_needed, joint_quantile, score_difference, wilson


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (7, 20), (128, 128), (1, 3)])
def test_wilson(hits, n):
    expected = proportion_confint(hits, n, alpha=0.05, method="wilson")
    assert wilson(hits / n, n, stats.norm.ppf(0.975)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("a", "b", "n", "m"), [(3, 40, 50, 60), (0, 20, 20, 20), (64, 64, 128, 128)])
def test_difference_is_newcombes(a, b, n, m):
    expected = confint_proportions_2indep(a, n, b, m, method="newcomb", compare="diff")
    found = score_difference(SampledScore(a / n, n), SampledScore(b / m, m), stats.norm.ppf(0.975))
    assert found == pytest.approx(expected, abs=1e-9)


def test_standard_errors_serve_where_n_is_not_known():
    low, high = score_difference(SampledScore(0.5, stderr=0.03), SampledScore(0.6, stderr=0.04), 2.0)
    assert (low, high) == pytest.approx((-0.1 - 0.1, -0.1 + 0.1))
    assert score_difference(SampledScore(0.5), SampledScore(0.6, 100), 2.0) is None


def test_joint_intervals_are_bonferronis():
    assert joint_quantile(1) == pytest.approx(stats.norm.ppf(0.975))
    assert joint_quantile(7) == pytest.approx(stats.norm.ppf(1 - 0.05 / 14))


def test_so_many_items_do_tell_a_fall_from_noise():
    n = items_needed(0.5, -0.05, 1.96)
    assert n == 769  # 2 * 0.25 * (1.96 / 0.05)^2 = 768.3
    assert items_needed(1.0, -0.05, 1.96) is None


def robust_z(others, x):
    centre = np.median(others, axis=1)
    mad = np.median(np.abs(others - centre[:, None]), axis=1)
    return np.abs(x - centre) / (1.4826 * mad)


@pytest.mark.parametrize("others", [n for n in CRITICAL if n >= 6])
def test_one_in_a_hundred_ordinary_values_is_called_unusual(others):
    rng = np.random.default_rng(others)
    z = robust_z(rng.standard_normal((60_000, others)), rng.standard_normal(60_000))
    assert np.mean(z > CRITICAL[others]) == pytest.approx(0.01, abs=0.0025)


@pytest.mark.parametrize("others", [n for n in CRITICAL_TREND if 7 <= n <= 30])
def test_the_same_beside_a_trend(others):
    rng = np.random.default_rng(others)
    values, t = rng.standard_normal((20_000, others + 1)), np.arange(others)
    i, j = np.triu_indices(others, 1)
    slope = np.median((values[:, j] - values[:, i]) / (j - i), axis=1)
    z = robust_z(values[:, :-1] - slope[:, None] * t, values[:, -1] - slope * others)
    assert np.mean(z > CRITICAL_TREND[others]) == pytest.approx(0.01, abs=0.004)


def test_critical_values_between_and_beyond():
    assert critical_value(3, detrended=False) is None
    assert critical_value(11, detrended=False) == pytest.approx((4.9 + 4.4) / 2)
    assert critical_value(500, detrended=True) == 3.0


def test_a_step_that_goes_on_with_the_trend_is_not_unusual():
    course = {t: 2.0 * t + 0.1 * (-1) ** t for t in range(1, 13)}
    assert not place_step(course, 12).unusual
    assert place_step(course, 12).rank == 1
    assert place_step(course | {12: 40.0}, 12).unusual


def test_values_without_spread():
    flat = dict.fromkeys(range(1, 9), 1.0)
    assert place_step(flat, 4).z == 0.0
    # A difference of 0.5 % of the median is the least that counts as one spread.
    assert place_step(flat | {4: 1.05}, 4).z == pytest.approx(10.0)
    zeros = dict.fromkeys(range(1, 9), 0.0)
    assert place_step(zeros | {4: 1.0}, 4).z is None
    assert place_step({1: None, 2: 1.0}, 1) is None
    assert place_step({2: 1.0}, 2).z is None


def test_percentiles_leave_the_value_itself_out():
    reference = Reference([("a", 1, 1.0), ("a", 2, 2.0), ("b", 1, 1.0), ("b", 2, 4.0), ("c", 2, 3.0)])
    assert reference.in_store(2.0) == (pytest.approx(100 * 2 / 4), 4)
    assert reference.in_store(1.0) == (pytest.approx(100 * 0.5 / 4), 4)
    assert reference.at_step(2.0, run="a", step=2) == (0.0, 2)
    assert reference.at_step(5.0, run="z", step=9) == (None, 0)
    assert place_among(3.0, [1.0, 2.0, 4.0]).rank == 2
