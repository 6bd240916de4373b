"""Stores in which something is missing."""

import json
import random

import polars as pl
import pytest

from geodiag.errors import StoreError
from geodiag.signals import (
    FAMILY_SIGNALS,
    family_signals,
    layer_signals,
    pair_signals,
    run_outcomes,
    step_signals,
    top_layers,
)
from geodiag.store import StoreReader, create_store

from .simulate import simulate, write

EVERY = [step_signals, family_signals, layer_signals, pair_signals, run_outcomes, top_layers]
SIGNALS = [signal.name for signal in FAMILY_SIGNALS]


@pytest.fixture
def build(tmp_path):
    def build(change=None, **options):
        run = simulate(random.Random(5), "r", **{"steps": 3, "memory": "all", **options})
        if change:
            change(run)
        write(tmp_path / "s", [run])
        return StoreReader(tmp_path / "s")

    return build


def only_who_is_active(run):
    run.rows = {name: run.rows[name] for name in ("runs", "active")}


def test_a_run_without_measures_keeps_its_steps(build):
    store = build(only_who_is_active)
    steps = step_signals(store)
    assert steps["step"].to_list() == [1, 2, 3]
    assert steps.select(*SIGNALS, "overall", "forgetting").null_count().row(0) == (3,) * (len(SIGNALS) + 2)
    assert family_signals(store).height == layer_signals(store).height == top_layers(store).height == 0
    assert pair_signals(store)["in_memory"].to_list() == [True] * 3
    assert run_outcomes(store).select("OP", "BWT", "FWT", "final_overall").row(0) == (None,) * 4


@pytest.mark.parametrize("function", EVERY)
def test_an_empty_store_says_so(tmp_path, function):
    create_store(tmp_path / "s")
    with pytest.raises(StoreError, match="the store holds no run"):
        function(StoreReader(tmp_path / "s"))


@pytest.mark.parametrize("config", ["{}", '{"lambda": null}', '{"lambda": "big"}'])
def test_settings_without_lambda_are_an_error_not_a_null(build, config):
    def change(run):
        run.rows["runs"][0]["config"] = config

    with pytest.raises(StoreError, match="run r: the run's settings name no lambda; extract the run again"):
        step_signals(build(change))


def test_lambda_is_read_from_each_run(tmp_path):
    runs = [simulate(random.Random(5), name, steps=2, memory="all", lam=lam) for name, lam in LAMBDAS.items()]
    write(tmp_path / "s", runs)
    rows = step_signals(StoreReader(tmp_path / "s")).filter(step=2)
    assert json.loads(runs[0].rows["runs"][0]["config"])["lambda"] == 1e-9
    # A wider basis lowers a conflict in proportion to lambda.
    gap = rows["active_conflict"] - rows["global_active_conflict"]
    assert gap[0] < 1e-6
    assert gap[1] > 1e-2


LAMBDAS = {"narrow": 1e-9, "wide": 1e-2}


def test_one_unknown_norm_leaves_the_length_unknown_rather_than_short(build):
    def change(run):
        row = next(row for row in run.rows["updates"] if row["step"] == 2 and row["object"] == "state")
        row["increment_norm"] = None

    store = build(change)
    steps = step_signals(store)
    for name in ("update_norm", "update_norm_sum"):
        assert [value is None for value in steps[name]] == [False, True, False]
    assert steps["state_norm"].null_count() == 0
    families = family_signals(store).filter(step=2)
    assert families["update_norm"].null_count() == 1


def test_gradients_of_tasks_that_left_the_active_set_do_not_count(build):
    def change(run):
        gone, new = run.tasks[0], run.tasks[2]
        row = {**run.layers[0], "step": 3, "task_i": gone, "task_j": new, "cos": -1.0}
        run.rows["gradients"].append(row)

    store = build(change, memory=2)
    assert step_signals(store)["min_grad_cos"].drop_nulls().min() > -1
    rows = pair_signals(store).filter(step=3).sort("age")
    assert rows["in_memory"].to_list() == [True, False]
    assert rows["min_grad_cos"].is_null().to_list() == [False, True]


def test_a_task_called_state_is_a_task(build):
    def change(run):
        old = run.tasks[0]
        for rows in run.rows.values():
            for row in rows:
                for name, value in row.items():
                    if value in (old, f"task:{old}"):
                        row[name] = value.replace(old, "state")

    plain, renamed = build(), None
    expected = pair_signals(plain).drop("old_task", "new_task")
    renamed = simulate(random.Random(5), "r", steps=3, memory="all")
    change(renamed)
    write(plain.path.parent / "renamed", [renamed])
    found = pair_signals(StoreReader(plain.path.parent / "renamed"))
    assert "state" in found["old_task"].to_list()
    assert found.drop("old_task", "new_task").equals(expected)


def test_runs_of_a_view_only(store):
    view = store.only(["all", "one"])
    for function in EVERY:
        assert set(function(view)["run"].unique().to_list()) <= {"all", "one"}
    assert run_outcomes(view)["run"].to_list() == ["all", "one"]
    assert run_outcomes(view).schema["seed"] == pl.Int64
