"""Pairs of other runs: the same tasks in either order, and the nearest in GC and SAR."""

import polars as pl

from geodiag.signals.pairs import NEAREST_PAIRS, PairDrops, SimilarPairs

COLUMNS = ("run", "step", "new_task", "old_task", "mean_conflict", "mean_sar", "drop")


def pair(run, new, old, gc, sar, drop, step=2):
    return dict(zip(COLUMNS, (run, step, new, old, gc, sar, drop), strict=True))


def test_the_same_tasks_in_other_runs_in_either_order():
    here = pair("a", "x", "y", 0.5, 0.5, -0.9)
    rows = [
        here,
        pair("b", "x", "y", 0.1, 0.1, -0.2),
        pair("c", "y", "x", 0.9, 0.9, 0.4),
        pair("c", "x", "z", 0, 0, 0.1),
    ]
    drops = SimilarPairs(pl.DataFrame(rows)).same_tasks(here)
    assert drops == PairDrops(n=2, median=0.1, low=-0.2, high=0.4, lost=0.5, all_median=0.1)


def test_a_pair_with_an_undefined_drop_does_not_count():
    here = pair("a", "x", "y", 0.5, 0.5, -0.9)
    rows = [here, pair("b", "x", "y", 0.1, 0.1, None), pair("b", "x", "z", 0.1, 0.1, -0.3)]
    assert SimilarPairs(pl.DataFrame(rows)).same_tasks(here) == PairDrops()


def test_the_nearest_by_rank_in_both_signals():
    here = pair("a", "x", "y", 0.505, 0.505, 0.0)
    # GC and SAR rise together: the nearest are those next to the pair on either side.
    others = [pair("b", "x", f"t{k}", k / 100, k / 100, -k / 100, step=k) for k in range(100)]
    drops = SimilarPairs(pl.DataFrame([here, *others])).nearest(here)
    assert drops.n == NEAREST_PAIRS
    assert (drops.high, drops.low) == (-0.41, -0.60)
    assert drops.all_median == -0.495


def test_too_few_pairs_have_no_nearest():
    here = pair("a", "x", "y", 0.5, 0.5, -0.9)
    others = [pair("b", "x", f"t{k}", 0.5, 0.5, 0.1, step=k) for k in range(2 * NEAREST_PAIRS - 1)]
    assert SimilarPairs(pl.DataFrame([here, *others])).nearest(here) == PairDrops()
