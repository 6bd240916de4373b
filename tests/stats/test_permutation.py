from itertools import permutations, product

import numpy as np
import pytest
from scipy.stats import pearsonr, permutation_test, rankdata, spearmanr

from geodiag.stats import STATISTICS, Design, ResamplingSettings, correlate
from geodiag.stats.p_values import common_places, strata
from geodiag.stats.resampling import Draws, count_arrangements
from tests.stats.samples import dummies, panel, residual, textbook


def even_panel(seed, *, runs=4, steps=4, ties=True):
    rng = np.random.default_rng(seed)
    run, step = np.divmod(np.arange(runs * steps), steps)
    x, y = rng.normal(size=(2, runs * steps)) + rng.normal(size=(2, runs))[:, run]
    return (np.round(x), np.round(y), run, step) if ties else (x, y, run, step)


def exchanged(x, run, step, order):
    """Each run's signal replaced by that of the run standing at its place in `order`, step by step."""
    moved = np.empty_like(x)
    for i, j in enumerate(order):
        for s in step[run == i]:
            moved[(run == i) & (step == s)] = x[(run == j) & (step == s)]
    return moved


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["spearman", "within", "between", "step_partial", "pearson"])
def test_few_runs_are_exchanged_in_every_way(name, seed):
    x, y, run, step = even_panel(seed)
    cell = correlate(x, y, Design.from_labels(run, steps=step), statistic=name, rng=0).cell("0", "0")
    observed = abs(textbook(name, x, y, run, step))
    seen = [abs(textbook(name, exchanged(x, run, step, order), y, run, step)) for order in permutations(range(4))]
    assert cell.whole_run.exact
    assert cell.whole_run.arrangements == 24
    assert cell.whole_run.p == pytest.approx(np.mean(np.array(seen) >= observed - 1e-12), abs=1e-12)


def test_many_runs_are_exchanged_at_random():
    x, y, run, step = even_panel(1, runs=9, steps=5)
    cell = correlate(
        x, y, Design.from_labels(run, steps=step), settings=ResamplingSettings(permutations=80), rng=3
    ).cell("0", "0")
    (orders,), exact = Draws(3).arrangements([9], size=80)
    seen = [abs(spearmanr(exchanged(x, run, step, order), y)[0]) for order in orders]
    expected = (1 + np.sum(np.array(seen) >= abs(spearmanr(x, y)[0]) - 1e-12)) / 81
    assert not exact
    assert not cell.whole_run.exact
    assert cell.whole_run.p == pytest.approx(expected, abs=1e-12)


def test_runs_of_unequal_length_change_places_with_their_like():
    x, y, run, step = even_panel(2, runs=8, steps=4)
    kept = (step < 3) | (run >= 4)
    x, y, run, step = (v[kept] for v in (x, y, run, step))
    cell = correlate(x, y, Design.from_labels(run, steps=step)).cell("0", "0")
    seen = []
    for short, long in product(permutations(range(4)), permutations(range(4, 8))):
        seen.append(abs(spearmanr(exchanged(x, run, step, [*short, *long]), y)[0]))
    assert cell.whole_run.arrangements == 576
    assert cell.whole_run.exact
    assert cell.whole_run.rows == len(x)
    expected = np.mean(np.array(seen) >= abs(spearmanr(x, y)[0]) - 1e-12)
    assert cell.whole_run.p == pytest.approx(expected, abs=1e-12)


def test_steps_that_are_not_common_can_be_dropped_first():
    x, y, run, step = even_panel(3, runs=6, steps=5, ties=False)
    kept = (step < 4) | (run == 0)
    design = Design.from_labels(run[kept], steps=step[kept])
    options = ResamplingSettings(unequal="common")
    ragged = correlate(x[kept], y[kept], design, settings=options).cell("0", "0")
    even = step < 4
    trimmed = correlate(x[even], y[even], Design.from_labels(run[even], steps=step[even])).cell("0", "0")
    assert ragged.whole_run.p == trimmed.whole_run.p
    assert ragged.whole_run.rows == even.sum()
    assert ragged.rows == kept.sum()


def test_the_free_shuffle_counts_shuffled_correlations():
    x, y, run, _ = even_panel(4)
    cell = correlate(x, y, Design.from_labels(run), settings=ResamplingSettings(permutations=60), rng=6).cell("0", "0")
    (orders,) = Draws(6).row_orders(16, size=60, chunk=60)
    seen = [abs(spearmanr(x, y[order])[0]) for order in orders]
    expected = (1 + np.sum(np.array(seen) >= abs(spearmanr(x, y)[0]) - 1e-12)) / 61
    assert cell.free.p == pytest.approx(expected, abs=1e-12)


def test_the_free_shuffle_approaches_scipys_exact_test():
    x, y = np.random.default_rng(1).normal(size=(2, 7))
    theirs = permutation_test((x,), lambda v: spearmanr(v, y)[0], permutation_type="pairings", n_resamples=np.inf)
    ours = correlate(
        x, y, Design.from_labels(np.arange(7)), settings=ResamplingSettings(resamples=0, permutations=20000)
    ).p_free.item()
    assert ours == pytest.approx(theirs.pvalue, abs=4 * np.sqrt(0.25 / 20000))


def test_one_row_a_run_makes_both_tests_the_same_question():
    x, y = np.random.default_rng(2).normal(size=(2, 6))
    design = Design.from_labels(np.arange(6), steps=np.zeros(6))
    theirs = permutation_test((x,), lambda v: spearmanr(v, y)[0], permutation_type="pairings", n_resamples=np.inf)
    exact = correlate(x, y, design).cell("0", "0").whole_run
    assert exact.exact
    assert exact.arrangements == 720
    assert exact.p == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize("name", ["spearman", "step_partial"])
def test_controls_are_held_by_freedman_and_lane(name):
    x, y, run, step = even_panel(5, steps=6, ties=False)
    held = np.random.default_rng(9).normal(size=len(x)) + run
    design = Design.from_labels(run, steps=step)
    cell = correlate(x, y, design, statistic=name, controls=held).cell("0", "0")
    fixed = np.column_stack([np.ones(len(x)), rankdata(held)])
    if name == "step_partial":
        fixed = np.column_stack([fixed, dummies(step)])
    u, v = (residual(rankdata(column), fixed) for column in (x, y))
    seen = [abs(pearsonr(residual(exchanged(u, run, step, order), fixed), v)[0]) for order in permutations(range(4))]
    expected = np.mean(np.array(seen) >= abs(pearsonr(u, v)[0]) - 1e-12)
    assert cell.whole_run.p == pytest.approx(expected, abs=1e-12)


def test_permutations_do_not_depend_on_the_size_of_a_batch(monkeypatch):
    x, y, run, step = panel(6, runs=8)
    design = Design.from_labels(run, steps=step)
    options = ResamplingSettings(permutations=200, unequal="common")
    whole = correlate(x, y, design, settings=options)
    monkeypatch.setattr("geodiag.stats.p_values.CELLS", 1)
    monkeypatch.setattr("geodiag.stats.p_values._PRODUCTS", 1)
    pieces = correlate(x, y, design, settings=options)
    np.testing.assert_array_equal(pieces.p_free, whole.p_free)
    np.testing.assert_array_equal(pieces.p_whole_run, whole.p_whole_run)


NO_TEST = {
    "few runs": (lambda run, step: Design.from_labels(run % 3, steps=run // 3 * 4 + step), "only 6 arrangements"),
    "no steps": (lambda run, step: Design.from_labels(run), "no places to match runs by"),
    "repeated steps": (lambda run, step: Design.from_labels(run, steps=step // 2), "share a place"),
}


@pytest.mark.parametrize("case", NO_TEST)
def test_runs_that_cannot_be_exchanged_say_why(case):
    x, y, run, step = even_panel(7, runs=9, ties=False)
    design, reason = NO_TEST[case]
    cell = correlate(x, y, design(run, step)).cell("0", "0")
    assert cell.whole_run.p is None
    assert reason in cell.whole_run.reason
    assert cell.free.p is not None


@pytest.mark.parametrize("name", STATISTICS)
def test_no_step_common_to_all_runs(name):
    x, y, run, step = even_panel(8, runs=8, ties=False)
    design = Design.from_labels(run, steps=np.where(run == 0, 9, 0) + step)
    cell = correlate(x, y, design, statistic=name, settings=ResamplingSettings(unequal="common")).cell("0", "0")
    assert cell.estimate is not None
    assert cell.whole_run.reason == "no step is common to all runs"


def test_a_signal_that_is_constant_on_the_common_steps():
    x, y, run, step = even_panel(8, runs=8, ties=False)
    kept = (step < 2) | (run == 0)
    x[step < 2] = 1.0
    design = Design.from_labels(run[kept], steps=step[kept])
    cell = correlate(x[kept], y[kept], design, settings=ResamplingSettings(unequal="common")).cell("0", "0")
    assert cell.free.p is not None
    assert cell.whole_run.p is None
    assert cell.whole_run.reason == "signal is constant"


def test_means_of_runs_change_places_among_runs_of_the_same_steps():
    x, y, run, step = even_panel(12, runs=8, steps=4)
    kept = (step < 3) | (run >= 4)
    x, y, run, step = (v[kept] for v in (x, y, run, step))
    cell = correlate(x, y, Design.from_labels(run, steps=step), statistic="between").cell("0", "0")
    means = [np.array([v[run == r].mean() for r in range(8)]) for v in (x, y)]
    seen = []
    for short, long in product(permutations(range(4)), permutations(range(4, 8))):
        seen.append(abs(spearmanr(means[0][[*short, *long]], means[1])[0]))
    assert cell.whole_run.arrangements == 576
    expected = np.mean(np.array(seen) >= abs(spearmanr(*means)[0]) - 1e-12)
    assert cell.whole_run.p == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["within", "between"])
def test_correlations_of_runs_have_no_free_shuffle(name):
    x, y, run, step = even_panel(9, runs=8, ties=False)
    cell = correlate(x, y, Design.from_labels(run, steps=step), statistic=name).cell("0", "0")
    assert cell.free.p is None
    assert "whole runs" in cell.free.reason
    assert cell.whole_run.p is not None


def test_strata_hold_runs_with_the_same_places():
    codes = np.array([0, 0, 1, 1, 2, 2, 2])
    match = np.array([5, 6, 6, 5, 5, 6, 7])
    first, second = strata(codes, match)
    np.testing.assert_array_equal(first, [[0, 1], [3, 2]])
    np.testing.assert_array_equal(second, [[4, 5, 6]])
    np.testing.assert_array_equal(common_places(codes, match), [True] * 6 + [False])


def test_strata_are_shuffled_apart():
    (first, second), exact = Draws(0).arrangements([8, 8], size=50)
    assert not exact
    assert (first != second).any(axis=1).sum() > 45
    np.testing.assert_array_equal(np.sort(first, axis=1), np.tile(np.arange(8), (50, 1)))
    assert count_arrangements([3, 2, 1]) == 12


def test_higher_clusters_exchange_all_their_runs_at_once():
    x, y, run, step = even_panel(10, runs=8, steps=3)
    size, place = run // 2, run % 2 * 10 + step
    design = Design.from_labels(run, steps=step, clusters=size, match=place)
    cell = correlate(x, y, design).cell("0", "0")
    seen = [abs(spearmanr(exchanged(x, size, place, order), y)[0]) for order in permutations(range(4))]
    assert cell.runs == 4
    assert cell.whole_run.arrangements == 24
    assert cell.whole_run.p == pytest.approx(np.mean(np.array(seen) >= abs(spearmanr(x, y)[0]) - 1e-12))
