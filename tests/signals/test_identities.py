"""What the definitions imply, whatever the numbers are."""

import copy
import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geodiag.signals import layer_signals, pair_signals, run_outcomes, step_signals
from geodiag.store import StoreReader

from .simulate import simulate, write


@given(seed=st.integers(0, 10**6), steps=st.integers(2, 6), memory=st.sampled_from(["all", 2, 3, "anchor"]))
@settings(max_examples=15, deadline=None)
def test_the_global_gap_is_the_state_gap_scaled_by_the_size_of_the_set(tmp_path_factory, seed, steps, memory):
    # Of the (m + 1) m / 2 pairs of a state and m active objects m involve the state. As lambda nears 0 the
    # bases no longer matter, so the gap of the means is m / ((m + 1) m / 2) = 2 / (m + 1) of the state gap.
    run = simulate(random.Random(seed), "r", steps=steps, memory=memory, lam=1e-14, zero=0.0)
    path = tmp_path_factory.mktemp("identity") / "s"
    write(path, [run])
    rows = step_signals(StoreReader(path)).filter(pl.col("step") > 1)
    assert rows.height == steps - 1
    for row in rows.to_dicts():
        m = row["n_active"]
        if m == 1:
            assert row["global_gap"] is None
        else:
            assert row["global_gap"] == pytest.approx(2 / (m + 1) * row["state_gap"], abs=1e-10)
        if memory == "all":
            assert m == row["step"]


def test_with_a_visible_lambda_the_two_gaps_part(store):
    rows = step_signals(store).filter(pl.col("run") == "all", pl.col("step") > 1)
    scaled = rows["state_gap"] * 2 / (rows["n_active"] + 1)
    assert (rows["global_gap"] - scaled).abs().min() > 1e-6


def test_a_wider_basis_never_raises_a_conflict(store):
    rows = step_signals(store).drop_nulls("active_conflict")
    assert (rows["global_active_conflict"] <= rows["active_conflict"]).all()


def test_a_run_alone_reads_as_it_does_among_others(store):
    together = step_signals(store)
    for run in store.run_ids():
        alone = step_signals(store.only([run]))
        assert alone.equals(together.filter(run=run))


def test_a_second_look_gives_the_same_bits(store):
    for function in (step_signals, layer_signals, pair_signals, run_outcomes):
        assert function(store).equals(function(store))


def test_runs_that_share_their_experts_tie(tmp_path):
    # The same experts merged in another way: the states differ, and pairs are named the other way round.
    first = simulate(random.Random(8), "first", steps=6, memory="all", zero=0.0)
    second = copy.deepcopy(first)
    second.name = "second"
    for row in second.rows["pairs"]:
        if row["kind"] == "state":
            row["sar"], row["conflict"], row["bures_sq"] = 0.5, 0.5, 0.1
        else:
            row["object_i"], row["object_j"] = row["object_j"], row["object_i"]
    write(tmp_path / "s", [first, second])
    rows = step_signals(StoreReader(tmp_path / "s"))
    one, other = rows.filter(run="first"), rows.filter(run="second")
    for name in ("active_sar", "active_conflict", "global_active_conflict"):
        assert one[name].equals(other[name], null_equal=True)
    assert not one["state_conflict"].equals(other["state_conflict"])


def test_norms_of_a_step_are_the_lengths_of_its_layers(store):
    steps, layers = step_signals(store), layer_signals(store)
    for name in ("update_norm", "state_norm"):
        squared = layers.group_by("run", "step").agg((pl.col(name) ** 2).sum().sqrt().alias("length"))
        joined = steps.join(squared, on=["run", "step"])
        assert joined.height == steps.height
        assert (joined[name] - joined["length"]).abs().max() < 1e-12
        summed = layers.group_by("run", "step").agg(pl.col(name).sum().alias("total"))
        joined = steps.join(summed, on=["run", "step"])
        assert (joined[f"{name}_sum"] - joined["total"]).abs().max() < 1e-12
