import random

import polars as pl
import pytest

from geodiag.errors import SettingsError
from geodiag.signals import LAYER_RANKINGS, Ranking, layer_signals, top_layers
from geodiag.store import StoreReader

from .simulate import simulate, write


@pytest.fixture
def ranked(tmp_path):
    """Builds a store of two steps whose one active pair has the given conflicts and cosines, by layer."""

    def build(conflicts, cosines=None):
        run = simulate(random.Random(2), "r", steps=2, memory="all", zero=0.0, layers=len(conflicts))
        rows = [row for row in run.rows["pairs"] if row["kind"] == "active"]
        for row, value in zip(rows, conflicts, strict=True):
            row["conflict"] = value
        for row, value in zip(run.rows["gradients"], cosines or [None] * len(conflicts), strict=True):
            row["cos"] = value
        write(tmp_path / "s", [run])
        store = StoreReader(tmp_path / "s")
        # The layers of a step in block order, which is the order the values are given in.
        names = [row["layer"] for row in rows]
        return lambda **options: _by_layer(top_layers(store, **options), names)

    return build


def _by_layer(top, names):
    return {
        ranking: {
            names.index(row["layer"]): (row["place"], row["weight"]) for row in top.filter(ranking=ranking).to_dicts()
        }
        for ranking in top["ranking"].unique()
    }


def test_the_highest_conflicts_and_the_lowest_cosines_come_first(ranked):
    top = ranked([0.1, 0.9, 0.5, 0.3], [0.2, -0.1, 0.7, -0.4])(count=2)
    assert top == {
        "top_geometry_conflict": {1: (1, 1.0), 2: (2, 1.0)},
        "top_negative_gradient": {3: (1, 1.0), 1: (2, 1.0)},
    }


def test_a_tie_for_the_last_place_is_shared(ranked):
    top = ranked([0.9, 0.5, 0.5, 0.5, 0.1])(count=3)["top_geometry_conflict"]
    assert top == {0: (1, 1.0), 1: (2, pytest.approx(2 / 3)), 2: (2, top[1][1]), 3: (2, top[1][1])}


def test_a_tie_within_the_places_counts_in_full(ranked):
    top = ranked([0.9, 0.9, 0.5, 0.1])(count=3)["top_geometry_conflict"]
    assert top == {0: (1, 1.0), 1: (1, 1.0), 2: (3, 1.0)}


def test_layers_without_a_value_are_not_ranked(ranked):
    top = ranked([None, 0.2, None, 0.4])(count=3)
    assert top == {"top_geometry_conflict": {3: (1, 1.0), 1: (2, 1.0)}}


def test_weights_sum_to_the_places_there_are(store):
    layers = layer_signals(store)
    for count in (1, 3, 50):
        top = top_layers(store, count=count)
        for ranking in LAYER_RANKINGS:
            key = ["run", "step"]
            defined = layers.group_by(key).agg(n=pl.col(ranking.signal).count()).filter(pl.col("n") > 0)
            sums = top.filter(ranking=ranking.name).group_by(key).agg(pl.col("weight").sum())
            joined = defined.join(sums, on=key, how="full", coalesce=True)
            assert (joined["weight"] - joined["n"].clip(upper_bound=count)).abs().max() < 1e-9


def test_any_layer_signal_can_rank(store):
    widest = Ranking("largest_state", "state_norm", highest=True)
    top = top_layers(store, count=1, rankings=[widest])
    largest = layer_signals(store).group_by("run", "step").agg(pl.col("state_norm").max())
    joined = top.join(largest, on=["run", "step"])
    assert joined.height == top.height
    assert (joined["value"] == joined["state_norm"]).all()


def test_places_start_at_one(store):
    with pytest.raises(SettingsError, match="count is 0; give at least 1"):
        top_layers(store, count=0)
