import numpy as np
import pytest
from scipy.stats import spearmanr, t

from geodiag.errors import SettingsError
from geodiag.stats import Design, ResamplingSettings, compare
from geodiag.stats.resampling import Draws
from tests.stats.samples import expand, panel


def gap(a, b, y):
    return abs(spearmanr(a, y)[0]) - abs(spearmanr(b, y)[0])


def test_differences_and_their_intervals_by_hand():
    x, y, run, step = panel(0, runs=9, signals=3, ties=False)
    x[::6, 2] = np.nan
    found = compare(
        x,
        y,
        Design.from_labels(run, steps=step),
        pairs=[(0, 1), (2, 0)],
        settings=ResamplingSettings(resamples=50),
        rng=4,
    )
    for p, (a, b) in enumerate(found.pairs):
        known = ~np.isnan(x[:, a] + x[:, b])
        u, v, w, r = x[known, a], x[known, b], y[known, 1], run[known]
        assert found.rows[0, p, 1] == known.sum()
        assert found.difference[0, p, 1] == pytest.approx(gap(u, v, w), abs=1e-12)
        assert found.first[0, p, 1] == pytest.approx(spearmanr(u, w)[0], abs=1e-12)
        assert found.second[0, p, 1] == pytest.approx(spearmanr(v, w)[0], abs=1e-12)
        left_out = np.array([gap(u[r != g], v[r != g], w[r != g]) for g in range(9)])
        reach = t(8).ppf(0.975) * np.sqrt(8 / 9 * ((left_out - left_out.mean()) ** 2).sum())
        expected = [gap(u, v, w) - reach, gap(u, v, w) + reach]
        np.testing.assert_allclose([found.low[0, p, 1], found.high[0, p, 1]], expected, rtol=0, atol=1e-12)
        resampled = []
        for count in Draws(4).resamples(9, size=50).astype(int):
            rows, _ = expand(np.repeat(np.arange(9), count), r)
            resampled.append(gap(u[rows], v[rows], w[rows]))
        percentile = [found.percentile_low[0, p, 1], found.percentile_high[0, p, 1]]
        np.testing.assert_allclose(percentile, np.quantile(resampled, [0.025, 0.975]), rtol=0, atol=1e-12)


def test_a_signal_does_not_differ_from_itself_or_its_mirror():
    x, y, run, _ = panel(1, runs=8, signals=1)
    found = compare(np.column_stack([x, -x]), y, Design.from_labels(run), pairs=[(0, 0), (0, 1)])
    for field in ("difference", "low", "high", "percentile_low", "percentile_high"):
        np.testing.assert_allclose(getattr(found, field), 0, atol=1e-12)


def test_groups_and_what_cannot_be_compared():
    x, y, run, _ = panel(2, runs=12, ties=False)
    x[:, 1] = np.where(run < 6, 1.0, x[:, 1])
    found = compare(x, y, Design.from_labels(run), pairs=[(0, 1)], groups={"low": run < 6, "few": run > 8})
    assert np.isnan(found.difference[0]).all()
    assert (found.reason[0] == "signal is constant").all()
    assert np.isfinite(found.difference[1]).all()
    assert (found.interval_reason[1] == "3 runs, at least 6 are needed").all()
    assert np.isnan(found.low).all()


def test_nothing_complete_in_both():
    x, y, run, _ = panel(3, ties=False)
    x[run < 4, 0], x[run >= 4, 1] = np.nan, np.nan
    found = compare(x, y, Design.from_labels(run), pairs=[(0, 1)])
    assert (found.reason == "0 complete rows, at least 3 are needed").all()


def test_a_column_that_is_not_there():
    x, y, run, _ = panel(4)
    with pytest.raises(SettingsError, match=r"pair \(0, 2\) of signals; two columns from 0 to 1"):
        compare(x, y, Design.from_labels(run), pairs=[(0, 2)])
