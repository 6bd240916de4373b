"""The grid against scipy, pingouin and statsmodels."""

import numpy as np
import pandas as pd
import pingouin
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, rankdata, spearmanr

from geodiag.errors import SettingsError
from geodiag.stats import STATISTICS, Design, ResamplingSettings, correlate
from tests.stats.samples import dummies, panel, textbook

QUIET = ResamplingSettings(resamples=0, permutations=0)


def estimate(x, y, run, step, name="spearman", **more):
    return correlate(x, y, Design.from_labels(run, steps=step), statistic=name, settings=QUIET, **more).estimate[0]


@pytest.mark.parametrize("name", STATISTICS)
def test_estimates_are_the_textbook_ones(name):
    x, y, run, step = panel(0, signals=3, targets=2)
    found = estimate(x, y, run, step, name)
    for s, k in np.ndindex(3, 2):
        assert found[s, k] == pytest.approx(textbook(name, x[:, s], y[:, k], run, step), abs=1e-12)


def test_controls_give_pingouins_partial_correlation():
    x, y, run, step = panel(1, signals=2, targets=4)
    frame = pd.DataFrame(np.column_stack([x, y]), columns=list("abcdef"))
    for name, method in (("spearman", "spearman"), ("pearson", "pearson")):
        found = estimate(x, y[:, :2], run, step, name, controls=y[:, 2:])
        expected = pingouin.partial_corr(frame, "b", "c", ["e", "f"], method=method)["r"].item()
        assert found[1, 0] == pytest.approx(expected, abs=1e-12)


def test_step_partial_is_a_regression_on_step_dummies():
    x, y, run, step = panel(2)
    left = [sm.OLS(rankdata(v), dummies(step)).fit().resid for v in (x[:, 0], y[:, 0])]
    assert estimate(x, y, run, step, "step_partial")[0, 0] == pytest.approx(pearsonr(*left)[0], abs=1e-12)


def test_step_partial_holds_steps_and_controls_at_once():
    x, y, run, step = panel(3, targets=2)
    held = np.column_stack([dummies(step), rankdata(y[:, 1])])
    left = [sm.OLS(rankdata(v), held).fit().resid for v in (x[:, 0], y[:, 0])]
    found = estimate(x, y[:, 0], run, step, "step_partial", controls=y[:, 1])
    assert found[0, 0] == pytest.approx(pearsonr(*left)[0], abs=1e-12)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # pingouin's own use of pandas
def test_within_is_a_repeated_measures_correlation_of_ranks():
    x, y, run, step = panel(4)
    frame = pd.DataFrame({"run": run, "x": 0.0, "y": 0.0})
    for name, values in (("x", x[:, 0]), ("y", y[:, 0])):
        series = pd.Series(values).groupby(run)
        frame[name] = (series.rank() / series.transform("size")).to_numpy()
    expected = pingouin.rm_corr(frame, x="x", y="y", subject="run")["r"].item()
    assert estimate(x, y, run, step, "within")[0, 0] == pytest.approx(expected, abs=1e-12)


def test_within_is_the_mean_of_each_runs_spearman_when_runs_are_alike():
    rng = np.random.default_rng(0)
    x, y, run = rng.normal(size=40), rng.normal(size=40), np.repeat(np.arange(5), 8)
    each = [spearmanr(x[run == r], y[run == r])[0] for r in range(5)]
    assert estimate(x, y, run, None, "within")[0, 0] == pytest.approx(np.mean(each), abs=1e-12)


def test_gaps_are_left_out_pair_by_pair():
    x, y, run, step = panel(5, signals=3, targets=2, ties=False)
    x[::4, 1], x[:5, 2], y[step == 0, 1] = np.nan, np.nan, np.nan
    grid = correlate(x, y, Design.from_labels(run, steps=step), settings=QUIET)
    for s, k in np.ndindex(3, 2):
        known = ~np.isnan(x[:, s]) & ~np.isnan(y[:, k])
        assert grid.rows[0, s, k] == known.sum()
        assert grid.runs[0, s, k] == len(set(run[known]))
        expected = spearmanr(x[known, s], y[known, k])[0]
        assert grid.estimate[0, s, k] == pytest.approx(expected, abs=1e-12)


def test_gaps_in_controls_leave_rows_out_everywhere():
    x, y, run, _ = panel(6, signals=2, targets=3, ties=False)
    y[::5, 2] = np.nan
    known = ~np.isnan(y[:, 2])
    whole = correlate(x, y[:, :2], Design.from_labels(run), controls=y[:, 2], settings=QUIET)
    part = estimate(x[known], y[known, :2], run[known], None, controls=y[known, 2])
    np.testing.assert_allclose(whole.estimate[0], part, rtol=0, atol=1e-12)
    assert (whole.rows == known.sum()).all()


def test_groups_are_tables_of_their_own():
    x, y, run, step = panel(7, runs=12)
    groups = {"low": run < 6, "high": run >= 6}
    design = Design.from_labels(run, steps=step)
    options = ResamplingSettings(resamples=200, permutations=100, unequal="common")
    together = correlate(x, y, design, groups=groups, settings=options, rng=3)
    for q, mask in enumerate(groups.values()):
        alone = correlate(x[mask], y[mask], design.take(mask), settings=options, rng=3)
        for field in ("estimate", "low", "percentile_high", "p_whole_run", "p_free"):
            np.testing.assert_array_equal(getattr(together, field)[q], getattr(alone, field)[0])


def test_a_column_more_changes_no_other_number():
    x, y, run, step = panel(8, signals=3, runs=9)
    design = Design.from_labels(run, steps=step)
    options = ResamplingSettings(resamples=300, permutations=200)
    wide, narrow = (correlate(part, y, design, settings=options, rng=1) for part in (x, x[:, :1]))
    for field in ("low", "percentile_low", "p_free", "p_whole_run"):
        np.testing.assert_allclose(getattr(wide, field)[:, :1], getattr(narrow, field), rtol=0, atol=1e-12)


def test_the_order_of_the_rows_does_not_matter():
    x, y, run, step = panel(9, runs=9)
    shuffled = np.random.default_rng(0).permutation(len(run))
    first, second = (
        correlate(x[rows], y[rows], Design.from_labels(run[rows], steps=step[rows]), rng=1)
        for rows in (np.arange(len(run)), shuffled)
    )
    for field in ("estimate", "low", "percentile_low", "p_whole_run"):
        np.testing.assert_allclose(getattr(first, field), getattr(second, field), rtol=0, atol=1e-12)


def test_a_seed_and_a_generator_repeat_themselves():
    x, y, run, step = panel(10, runs=9)
    design = Design.from_labels(run, steps=step)
    for make in (lambda: 4, lambda: np.random.default_rng(4)):
        one, two = (correlate(x, y, design, rng=make()) for _ in range(2))
        np.testing.assert_array_equal(one.percentile_low, two.percentile_low)
    assert (correlate(x, y, design, rng=5).percentile_low != one.percentile_low).any()


@st.composite
def small_panels(draw):
    seed = draw(st.integers(0, 2**32 - 1))
    return panel(seed, runs=6, steps=5, ties=draw(st.booleans()))


@settings(max_examples=40, deadline=None)
@given(small_panels(), st.sampled_from(list(STATISTICS)))
def test_range_symmetry_and_sign(sample, name):
    x, y, run, step = sample
    found = estimate(x, y, run, step, name)
    known = found[~np.isnan(found)]
    assert (np.abs(known) <= 1).all()
    np.testing.assert_allclose(estimate(y, x, run, step, name), found.T, rtol=0, atol=1e-12)
    np.testing.assert_allclose(estimate(-x, y, run, step, name), -found, rtol=0, atol=1e-12)
    itself = np.diag(estimate(x, x, run, step, name))
    np.testing.assert_allclose(itself[~np.isnan(itself)], 1, rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(small_panels(), st.sampled_from(["spearman", "within", "step_partial"]))
def test_ranks_do_not_see_monotone_changes(sample, name):
    x, y, run, step = sample
    found = estimate(x, y, run, step, name)
    np.testing.assert_allclose(estimate(np.exp(x / 3), y**3, run, step, name), found, rtol=0, atol=1e-12)


def test_within_does_not_see_changes_of_a_run():
    x, y, run, step = panel(11, ties=False)
    moved = x * (1 + run[:, None]) + 10 * run[:, None]
    expected = estimate(x, y, run, step, "within")
    np.testing.assert_allclose(estimate(moved, y, run, step, "within"), expected, atol=1e-12)


def test_a_function_of_the_step_has_nothing_left_at_fixed_step():
    _, y, run, step = panel(12)
    grid = correlate(step**2, y, Design.from_labels(run, steps=step), statistic="step_partial")
    assert np.isnan(grid.estimate).all()
    assert set(grid.reason.ravel()) == {"nothing of the signal is left to correlate"}


REASONS = {
    "constant signal": (lambda x, y: (np.full_like(x, 0.1), y), "signal is constant"),
    "constant target": (lambda x, y: (x, np.full_like(y, 0.1)), "target is constant"),
    "nothing": (lambda x, y: (np.full_like(x, np.nan), y), "0 complete rows, at least 3 are needed"),
    "two rows": (
        lambda x, y: (np.where(np.arange(len(x)) < 2, x, np.nan), y),
        "2 complete rows, at least 3 are needed",
    ),
}


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("case", REASONS)
def test_what_cannot_be_correlated_says_why(name, case):
    x, y, run, step = panel(13, ties=False)
    change, reason = REASONS[case]
    x, y = change(x[:, 0], y[:, 0])
    cell = correlate(x, y, Design.from_labels(run, steps=step), statistic=name).cell("0", "0")
    assert cell.estimate is cell.jackknife.low is cell.percentile.high is cell.whole_run.p is cell.free.p is None
    reasons = {cell.reason, cell.jackknife.reason, cell.percentile.reason, cell.whole_run.reason, cell.free.reason}
    assert len(reasons) == 1
    if "constant" in reason:
        assert cell.reason == reason
    else:
        assert "complete" in cell.reason


def test_few_runs_have_no_interval():
    x, y, run, step = panel(14, runs=5)
    cell = correlate(x, y, Design.from_labels(run, steps=step)).cell("0", "0")
    assert cell.estimate is not None
    assert cell.runs == 5
    assert cell.jackknife.reason == cell.percentile.reason == "5 runs, at least 6 are needed"
    few = correlate(x, y, Design.from_labels(run), settings=ResamplingSettings(least_runs_percentile=4)).cell("0", "0")
    assert few.percentile.low is not None
    assert few.jackknife.low is None


def test_cells_run_through_the_grid_in_order():
    x, y, run, _ = panel(15)
    grid = correlate(x, y, Design.from_labels(run), names=(["a", "b"], ["t", "u"]), settings=QUIET)
    cells = list(grid.cells())
    assert [(c.signal, c.target) for c in cells] == [("a", "t"), ("a", "u"), ("b", "t"), ("b", "u")]
    assert [c.estimate for c in cells] == grid.estimate.ravel().tolist()
    assert grid.cell("b", "t") == cells[2]
    with pytest.raises(SettingsError, match="no signal 'c'; one of: a, b"):
        grid.cell("c", "t")


WRONG = {
    "rows": (lambda x, y, run: correlate(x[1:], y, Design.from_labels(run)), "signals: .* one row each"),
    "infinite": (lambda x, y, run: correlate(x / 0.0, y, Design.from_labels(run)), "signals: infinite values"),
    "statistic": (
        lambda x, y, run: correlate(x, y, Design.from_labels(run), statistic="tau"),
        "unknown statistic 'tau'; one of: spearman",
    ),
    "steps": (
        lambda x, y, run: correlate(x, y, Design.from_labels(run), statistic="step_partial"),
        "no steps to hold fixed; give steps=",
    ),
    "group": (
        lambda x, y, run: correlate(x, y, Design.from_labels(run), groups={"g": run}),
        "group g: mask of shape",
    ),
    "names": (
        lambda x, y, run: correlate(x, y, Design.from_labels(run), names=(["a"], ["b", "c"])),
        "signals: 1 names for 2 columns",
    ),
    "labels": (lambda x, y, run: Design.from_labels(run, steps=run[1:]), "steps: .* one label a row"),
    "missing label": (lambda x, y, run: Design.from_labels([None, *run[1:]]), "runs: missing labels"),
    "level": (lambda x, y, run: ResamplingSettings(level=95), "level is 95"),
    "resamples": (lambda x, y, run: ResamplingSettings(resamples=-1), "resamples is -1; 0 or more"),
    "unequal": (lambda x, y, run: ResamplingSettings(unequal="drop"), "one of: same, common"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_gets_one_clear_line(case):
    x, y, run, _ = panel(16, ties=False)
    call, message = WRONG[case]
    with np.errstate(divide="ignore"), pytest.raises(SettingsError, match=message) as caught:
        call(x, y, run)
    assert "\n" not in str(caught.value)
