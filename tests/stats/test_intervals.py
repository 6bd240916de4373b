import numpy as np
import pytest
from scipy.stats import bootstrap, spearmanr, t

from geodiag.stats import STATISTICS, Design, ResamplingSettings, correlate, jackknife_bounds, percentile_bounds
from geodiag.stats.correlation import correlations_at
from geodiag.stats.design import multiplicities
from geodiag.stats.moments import Shape, moment_source
from geodiag.stats.resampling import Draws
from tests.stats.samples import expand, panel, textbook


@pytest.mark.parametrize("ties", [False, True])
def test_with_clusters_of_one_row_it_is_scipys_paired_bootstrap(ties):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 40))
    x, y = (np.round(v) if ties else v for v in (x, x + y))
    theirs = bootstrap(
        (x, y),
        lambda a, b: spearmanr(a, b)[0],
        paired=True,
        vectorized=False,
        n_resamples=500,
        method="percentile",
        rng=np.random.default_rng(7),
    )
    # The indices scipy draws from that generator.
    drawn = np.random.default_rng(7).integers(0, 40, (500, 40))
    ready = STATISTICS["spearman"].prepare(np.column_stack([x, y]), Design.from_labels(np.arange(40)))
    ours = correlations_at(moment_source(ready, Shape(1, 1, 0), resamples=500), multiplicities(drawn, count=40))
    np.testing.assert_allclose(ours[:, 0, 0], theirs.bootstrap_distribution, rtol=0, atol=1e-12)
    bounds = percentile_bounds(ours, level=0.95)
    interval = theirs.confidence_interval
    np.testing.assert_allclose([bounds.low[0, 0], bounds.high[0, 0]], interval, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", STATISTICS)
def test_the_percentile_interval_is_that_of_written_out_resamples(name):
    x, y, run, step = panel(1, runs=8)
    design = Design.from_labels(run, steps=step)
    grid = correlate(x, y, design, statistic=name, settings=ResamplingSettings(resamples=60, permutations=0), rng=5)
    counts = Draws(5).resamples(8, size=60).astype(int)
    resampled = []
    for count in counts:
        rows, copies = expand(np.repeat(np.arange(8), count), run)
        resampled.append(textbook(name, x[rows, 0], y[rows, 1], copies, step[rows]))
    expected = np.quantile(resampled, [0.025, 0.975])
    found = [grid.percentile_low[0, 0, 1], grid.percentile_high[0, 0, 1]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", STATISTICS)
def test_the_jackknife_interval_is_its_formula(name):
    x, y, run, step = panel(2, runs=9)
    grid = correlate(x, y, Design.from_labels(run, steps=step), statistic=name, settings=ResamplingSettings(level=0.9))
    z = np.array(
        [
            np.arctanh(textbook(name, x[kept, 1], y[kept, 0], run[kept], step[kept]))
            for kept in (run != r for r in range(9))
        ]
    )
    reach = t(8).ppf(0.95) * np.sqrt(8 / 9 * ((z - z.mean()) ** 2).sum())
    centre = np.arctanh(textbook(name, x[:, 1], y[:, 0], run, step))
    found = [grid.low[0, 1, 0], grid.high[0, 1, 0]]
    np.testing.assert_allclose(found, np.tanh([centre - reach, centre + reach]), rtol=0, atol=1e-10)


def test_a_jackknifed_mean_is_students_interval():
    values = np.random.default_rng(0).normal(size=12)
    left_out = np.array([np.delete(values, i).mean() for i in range(12)])
    bounds = jackknife_bounds(np.array(values.mean()), left_out, level=0.95, fisher=False)
    expected = t(11, values.mean(), values.std(ddof=1) / np.sqrt(12)).interval(0.95)
    np.testing.assert_allclose([bounds.low, bounds.high], expected)


def test_a_perfect_correlation_has_no_interval_and_says_why():
    run, step = np.divmod(np.arange(40), 5)
    x = np.random.default_rng(0).normal(size=40)
    cell = correlate(x, x, Design.from_labels(run, steps=step)).cell("0", "0")
    assert cell.estimate == 1
    assert cell.jackknife.low is None
    assert "exactly 1" in cell.jackknife.reason


def test_undefined_resamples_are_dropped_and_counted():
    run = np.repeat(np.arange(6), 2)
    x = np.where(run == 0, np.arange(12), 0.0)  # constant wherever run 0 is not drawn
    y = np.random.default_rng(0).normal(size=12)
    grid = correlate(x, y, Design.from_labels(run), settings=ResamplingSettings(resamples=500, permutations=0), rng=2)
    without = int((Draws(2).resamples(6, size=500)[:, 0] == 0).sum())
    assert 100 < without < 250
    assert grid.dropped.item() == without
    assert np.isfinite(grid.percentile_low).all()
    assert "run is left out" in grid.interval_reason.item()


def test_mostly_undefined_resamples_give_no_interval():
    resampled = np.array([[0.1, 0.1], [np.nan, np.nan], [0.3, np.nan]])
    bounds = percentile_bounds(resampled, level=0.5)
    np.testing.assert_allclose([bounds.low[0], bounds.high[0]], np.quantile([0.1, 0.3], [0.25, 0.75]))
    assert np.isnan(bounds.low[1])
    assert bounds.reason.tolist() == [None, "undefined in more than half of the resamples"]
    assert bounds.dropped.tolist() == [1, 2]


def test_higher_clusters_are_drawn_whole():
    x, y, run, step = panel(3, runs=24)
    size = run % 8
    design = Design.from_labels(run, steps=step, clusters=size, match=run // 8 * 10 + step)
    grid = correlate(x, y, design, settings=ResamplingSettings(resamples=50, permutations=0), rng=1)
    assert (grid.runs == 8).all()
    expected = []
    for count in Draws(1).resamples(8, size=50).astype(int):
        rows, _ = expand(np.repeat(np.arange(8), count), size)
        expected.append(spearmanr(x[rows, 0], y[rows, 0])[0])
    assert grid.percentile_low[0, 0, 0] == pytest.approx(np.quantile(expected, 0.025), abs=1e-12)


@pytest.mark.parametrize("name", ["within", "between"])
def test_higher_clusters_leave_the_run_what_it_is(name):
    x, y, run, step = panel(4, runs=24)
    plain, coarse = (
        correlate(x, y, Design.from_labels(run, steps=step, clusters=c), statistic=name) for c in (None, run % 8)
    )
    np.testing.assert_allclose(coarse.estimate, plain.estimate, rtol=0, atol=1e-12)
    assert (coarse.runs == 8).all()
    assert (coarse.low != plain.low).all()
