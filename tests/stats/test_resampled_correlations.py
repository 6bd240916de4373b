"""Every correlation at every weight vector equals the textbook one on the expanded sample."""

import numpy as np
import pandas as pd
import pingouin
import pytest

from geodiag.stats import STATISTICS, Design
from geodiag.stats.correlation import correlations_at
from geodiag.stats.design import multiplicities
from geodiag.stats.moments import RankPolynomials, RankRows, Shape, moment_source
from tests.stats.samples import expand, panel, textbook


def prepared(name, seed, *, controls=0, **sizes):
    x, y, run, step = panel(seed, targets=2 + controls, **sizes)
    values = np.concatenate([x, y], axis=1)
    return STATISTICS[name].prepare(values, Design.from_labels(run, steps=step)), values, run, step


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", STATISTICS)
def test_a_resample_equals_its_expanded_sample(name, seed):
    ready, values, run, step = prepared(name, seed)
    drawn = np.random.default_rng(seed).integers(0, 7, (12, 7))
    source = moment_source(ready, Shape(2, 2, 0), resamples=len(drawn))
    found = correlations_at(source, multiplicities(drawn, count=7))
    for b, runs in enumerate(drawn):
        rows, copies = expand(runs, run)
        for s, k in np.ndindex(2, 2):
            expected = textbook(name, values[rows, s], values[rows, 2 + k], copies, step[rows])
            assert found[b, s, k] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["spearman", "step_partial"])
@pytest.mark.parametrize("controls", [0, 1, 2])
def test_the_cubic_form_and_the_written_out_ranks_agree(name, controls):
    ready, *_ = prepared(name, 5, controls=controls, runs=6, steps=8)
    shape = Shape(2, 2, controls)
    weights = multiplicities(np.random.default_rng(1).integers(0, 6, (40, 6)), count=6)
    cubic, rows = (correlations_at(source(ready, shape), weights) for source in (RankPolynomials, RankRows))
    np.testing.assert_allclose(cubic, rows, rtol=0, atol=1e-12)
    assert np.isfinite(cubic).all()


def test_resamples_with_controls_are_partial_correlations_of_the_expanded_sample():
    ready, values, run, _ = prepared("spearman", 2, controls=2)
    drawn = np.random.default_rng(3).integers(0, 7, (5, 7))
    found = correlations_at(RankPolynomials(ready, Shape(2, 2, 2)), multiplicities(drawn, count=7))
    for b, runs in enumerate(drawn):
        frame = pd.DataFrame(values[expand(runs, run)[0]], columns=list("abcdef"))
        expected = pingouin.partial_corr(frame, "a", "d", ["e", "f"], method="spearman")["r"].item()
        assert found[b, 0, 1] == pytest.approx(expected, abs=1e-12)


def test_moments_do_not_depend_on_the_size_of_a_batch(monkeypatch):
    ready, *_ = prepared("step_partial", 4)
    weights = multiplicities(np.random.default_rng(1).integers(0, 7, (30, 7)), count=7)
    source = RankRows(ready, Shape(2, 2, 0))
    whole = correlations_at(source, weights)
    monkeypatch.setattr("geodiag.stats.moments.CELLS", 1)
    assert source.batch() == 1
    np.testing.assert_array_equal(correlations_at(source, weights), whole)


def test_a_resample_with_a_constant_column_is_undefined():
    run = np.repeat([0, 1, 2], 3)
    x = np.array([1.0, 1, 1, 1, 1, 1, 1, 2, 3])
    y = np.arange(9.0)
    weights = np.array([[1.0, 2, 0], [0, 1, 2]])
    for name in ("spearman", "pearson"):
        ready = STATISTICS[name].prepare(np.column_stack([x, y]), Design.from_labels(run))
        found = correlations_at(moment_source(ready, Shape(1, 1, 0), resamples=2), weights)
        assert np.isnan(found[0, 0, 0])
        assert np.isfinite(found[1, 0, 0])
