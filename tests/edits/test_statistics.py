"""Tests of edits against scipy, closed forms and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from geodiag.stats.score_noise import examples_needed, joint_level, mean_interval, ratio_interval

G = np.random.default_rng(0)


def test_an_interval_is_students():
    x = G.normal(1, 2, 20)
    low, high = stats.t.interval(0.9, 19, loc=x.mean(), scale=stats.sem(x))
    interval = mean_interval(x, level=0.9)
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert (interval.estimate, interval.se, interval.n) == pytest.approx((x.mean(), stats.sem(x), 20))


def test_two_tasks_are_pooled_as_welch_does():
    x, y = G.normal(1, 2, 12), G.normal(-3, 1, 30)
    welch = stats.ttest_ind(x, -y, equal_var=False).confidence_interval(0.95)
    interval = mean_interval(x, y, level=0.95)
    assert (interval.low, interval.high) == pytest.approx((welch.low, welch.high))


def test_without_variance_or_examples():
    assert mean_interval(np.ones(5), level=0.95).is_above
    one = mean_interval(np.ones(1), level=0.95)
    assert (one.low, one.high) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="at least one number"):
        mean_interval(np.empty(0), level=0.95)


def test_fiellers_interval_holds_the_ratios_that_students_test_does_not_refuse():
    y = G.normal(2, 1, 25)
    x = 0.6 * y + G.normal(0, 0.5, 25)
    interval = ratio_interval([x], [y], level=0.95)
    assert interval.estimate == pytest.approx(x.mean() / y.mean())
    for r in (interval.low, interval.high):
        assert stats.ttest_1samp(x - r * y, 0).pvalue == pytest.approx(0.05)


def test_a_denominator_within_noise_has_no_bounded_ratio():
    y = np.array([-1.0, 1.0, 0.5, -0.4])
    interval = ratio_interval([y + 1], [y], level=0.95)
    assert (interval.low, interval.high) == (None, None)
    assert ratio_interval([np.ones(3)], [np.zeros(3)], level=0.95).estimate is None


def test_the_test_of_half_has_its_level_at_the_null():
    """2,000 draws in which exactly half comes back: the share refused is 2.5 % a side, within 3 sd of a binomial."""
    g, n = np.random.default_rng(1), 2000
    falls = g.beta(2, 3, (n, 32))
    back = 0.5 * falls + g.normal(0, 0.1, (n, 32))
    x = back - 0.5 * falls
    se = x.std(1, ddof=1) / math.sqrt(32)
    refused = (x.mean(1) - stats.t.ppf(0.975, 31) * se > 0).mean()
    ours = np.mean([mean_interval(row, level=0.95).is_above for row in x])
    assert ours == refused
    assert abs(ours - 0.025) < 3 * math.sqrt(0.025 * 0.975 / n)


def test_joint_intervals_hold_together():
    """2,000 draws of four edits without effect: some interval excludes 0 in at most 5 % of them."""
    g, n, level = np.random.default_rng(2), 2000, joint_level(4)
    x = g.normal(0, 1, (n, 4, 32))
    half = stats.t.ppf(1 - (1 - level) / 2, 31) * x.std(2, ddof=1) / math.sqrt(32)
    wrong = (np.abs(x.mean(2)) > half).any(1).mean()
    assert wrong < 0.05 + 3 * math.sqrt(0.05 * 0.95 / n)
    interval = mean_interval(x[0, 0], level=level)
    assert interval.high - interval.low == pytest.approx(2 * half[0, 0])


def test_examples_needed_are_the_first_that_exclude_zero():
    x = np.array([1.0, -0.5, 0.3, 0.8, -0.6, 0.4])
    interval = mean_interval(x, level=0.95)
    n = examples_needed(interval, level=0.95)
    s = x.std(ddof=1)
    assert stats.t.ppf(0.975, n - 1) * s / math.sqrt(n) < x.mean() <= stats.t.ppf(0.975, n - 2) * s / math.sqrt(n - 1)
    assert examples_needed(mean_interval(np.array([1.0, -1.0]), level=0.95), level=0.95) is None
