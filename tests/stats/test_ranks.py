import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import rankdata

from geodiag.stats.ranks import Order, centred_ranks, ranks_inside

columns = hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(-4, 4).map(float))


@given(columns)
def test_ranks_are_average_ranks(column):
    expected = rankdata(column) - (len(column) + 1) / 2
    np.testing.assert_array_equal(centred_ranks(column[:, None])[:, 0], expected)


@given(columns, st.data())
def test_weighted_ranks_are_ranks_of_the_expanded_sample(column, data):
    weights = data.draw(hnp.arrays(np.int64, len(column), elements=st.integers(0, 4)))
    expanded = np.repeat(column, weights)
    found = np.repeat(Order.of(column).centred(weights[:, None].astype(float))[:, 0], weights)
    np.testing.assert_allclose(found, rankdata(expanded) - (len(expanded) + 1) / 2, rtol=0, atol=1e-12)


def test_weighted_ranks_of_many_samples_at_once():
    rng = np.random.default_rng(0)
    column = np.round(rng.normal(size=400), 1)
    weights = rng.integers(0, 5, (400, 6)).astype(float)
    together = Order.of(column).centred(weights)
    for b, weight in enumerate(weights.T):
        times = weight.astype(int)
        expanded = np.repeat(column, times)
        np.testing.assert_allclose(
            np.repeat(together[:, b], times), rankdata(expanded) - (len(expanded) + 1) / 2, rtol=0, atol=1e-12
        )


def test_rows_that_are_absent_are_ranked_among_those_present():
    order = Order.of(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(order.centred(np.array([[1.0], [0.0], [1.0]]))[:, 0], [-0.5, 0.0, 0.5])


@pytest.mark.parametrize("lengths", [(4, 4), (2, 9)])
def test_ranks_inside_runs_have_one_scale(lengths):
    run = np.repeat([0, 1], lengths)
    values = np.arange(len(run), dtype=float)[:, None]
    scores = ranks_inside(values, run)[:, 0]
    for code, n in enumerate(lengths):
        expected = (np.arange(1, n + 1) - (n + 1) / 2) / n
        np.testing.assert_allclose(scores[run == code], expected)
