import doctest
import subprocess
import sys

import numpy as np
import pytest

from geodiag.stats import Design, Partition, grid
from geodiag.stats.design import multiplicities
from geodiag.stats.resampling import Draws


def test_models_are_loaded_only_when_fitted():
    code = (
        "import sys, geodiag.stats\n"
        "heavy = {'statsmodels', 'torch', 'polars', 'pandas', 'scipy.stats'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_example_runs():
    tested = doctest.testmod(grid, extraglobs={"Design": Design})
    assert tested.attempted == 3
    assert tested.failed == 0


@pytest.mark.parametrize(
    "labels", [["b", "a", "b"], [10, 2, 10], [("4B", 1), ("4B", 0), ("4B", 1)], np.array(["b", "a", "b"])]
)
def test_clusters_are_sorted_labels(labels):
    partition = Partition.from_labels(labels)
    assert partition.names == tuple(
        sorted(set(map(tuple if isinstance(labels[0], tuple) else type(labels[0]), labels)))
    )
    np.testing.assert_array_equal(partition.codes, [1, 0, 1])
    np.testing.assert_array_equal(partition.sizes, [1, 2])


def test_taking_rows_drops_empty_clusters():
    partition = Partition.from_labels(["a", "b", "c", "c"]).take(np.array([False, True, True, True]))
    assert partition.names == ("b", "c")
    np.testing.assert_array_equal(partition.codes, [0, 1, 1])
    np.testing.assert_array_equal(partition.leave_one_out(), [[0, 1], [1, 0]])


def test_multiplicities_count_draws():
    np.testing.assert_array_equal(multiplicities(np.array([[0, 2, 2], [1, 1, 1]]), count=3), [[1, 0, 2], [0, 3, 0]])


def test_resamples_draw_as_many_clusters_as_there_are_and_each_as_often():
    counts = Draws(0).resamples(10, size=4000)
    assert (counts.sum(axis=1) == 10).all()
    # The mean of 4,000 binomial(10, 1/10) counts has standard error 0.015.
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.06)


def test_draws_depend_on_seed_kind_and_size_only():
    first, second = Draws(1), Draws(1)
    first.resamples(4, size=3)
    np.testing.assert_array_equal(first.resamples(5, size=3), second.resamples(5, size=3))
    orders = [np.concatenate(list(d.row_orders(6, size=7, chunk=c))) for d, c in ((first, 7), (second, 2))]
    np.testing.assert_array_equal(*orders)
    assert (Draws(2).resamples(5, size=3) != second.resamples(5, size=3)).any()
