import random

import pytest

from geodiag.signals import PAIR_SIGNALS, PAIR_TARGETS, RUN_TARGETS, pair_signals, run_outcomes, step_signals
from geodiag.store import StoreReader

from . import brute
from .conftest import OPTIONS
from .simulate import simulate, write
from .test_levels import compare

NAMES = [name for name, _ in OPTIONS]


@pytest.fixture(scope="module")
def pairs(store):
    return pair_signals(store)


@pytest.fixture(scope="module")
def finals(store):
    return run_outcomes(store)


@pytest.mark.parametrize("name", NAMES)
def test_pairs(runs, pairs, name):
    run = runs[name]
    rows = pairs.filter(run=name).to_dicts()
    keys = [(t, old) for t in range(2, run.steps + 1) for old in range(t - 1, 0, -1)]
    named = [(t, run.tasks[t - 1], run.tasks[old - 1]) for t, old in keys]
    assert [(row["step"], row["new_task"], row["old_task"]) for row in rows] == named
    for row, (t, old) in zip(rows, keys, strict=True):
        compare(row, brute.pair(run, t, old))


@pytest.mark.parametrize("name", NAMES)
def test_runs(runs, finals, name):
    (row,) = finals.filter(run=name).to_dicts()
    compare(row, brute.over_run(runs[name]))


def test_columns(pairs, finals):
    assert {entry.name for entry in (*PAIR_SIGNALS, *PAIR_TARGETS)} < set(pairs.columns)
    assert {entry.name for entry in RUN_TARGETS} < set(finals.columns)
    for entry in (*PAIR_SIGNALS, *PAIR_TARGETS):
        assert pairs[entry.name].drop_nulls().is_between(entry.low, entry.high).all()


def test_a_memory_of_the_previous_state_has_no_pair_signals_but_its_outcomes(pairs):
    rows = pairs.filter(run="anchor")
    signals = [entry.name for entry in PAIR_SIGNALS if entry.kind != "baseline"]
    assert rows.height == 6
    assert rows.select(signals).null_count().row(0) == (6,) * len(signals)
    assert not rows["in_memory"].any()
    assert rows["forgetting"].null_count() == 0


# Three tasks, worked by hand.      base   after 1  after 2  after 3
SCORES = {"a": (0.10, 0.60, 0.50, 0.55), "b": (0.20, 0.25, 0.70, 0.40), "c": (0.30, 0.20, 0.35, 0.80)}


@pytest.fixture
def by_hand(tmp_path):
    def build(scores, **extra):
        run = simulate(random.Random(1), "hand", steps=3, memory="all", overall=False)
        names = dict(zip("abc", run.tasks, strict=True))
        rows = [
            {"step": t, "task": names[task], "score": value}
            for task, values in scores.items()
            for t, value in enumerate(values)
            if value is not None
        ]
        run.rows["scores"] = rows + [{"step": t, "task": "overall", "score": v} for t, v in extra.items()]
        write(tmp_path / "s", [run])
        return StoreReader(tmp_path / "s")

    return build


def test_outcomes_by_hand(by_hand):
    last = step_signals(by_hand(SCORES)).row(2, named=True)
    assert last["current"] == 0.8
    assert last["old_mean"] == pytest.approx((0.55 + 0.40) / 2)
    assert last["old_min"] == 0.4
    assert last["worst_drop"] == pytest.approx(0.40 - 0.70)
    assert last["forgetting"] == pytest.approx(((0.55 - 0.60) + (0.40 - 0.70)) / 2)
    assert last["retention_loss"] == pytest.approx((0.05 + 0.30) / 2)
    assert last["overall"] == pytest.approx((0.55 + 0.40 + 0.80) / 3)
    assert last["overall_source"] == "mean"


def test_run_outcomes_by_hand(by_hand):
    row = run_outcomes(by_hand(SCORES)).row(0, named=True)
    assert row["OP"] == pytest.approx((0.55 + 0.40 + 0.80) / 3)
    assert row["BWT"] == pytest.approx(((0.55 - 0.60) + (0.40 - 0.70)) / 2)
    assert row["FWT"] == pytest.approx(((0.25 - 0.20) + (0.35 - 0.30)) / 2)


def test_a_gain_is_no_loss_and_the_base_does_not_count(by_hand):
    scores = {"a": (0.9, 0.5, 0.6, 0.6), "b": (0.9, 0.1, 0.5, 0.5), "c": (0.9, 0.1, 0.1, 0.1)}
    rows = step_signals(by_hand(scores))
    assert rows["forgetting"].to_list() == [None, pytest.approx(0.1), 0.0]
    assert rows["retention_loss"].to_list() == [None, 0.0, 0.0]
    assert [str(value) for value in rows["retention_loss"]] == ["None", "0.0", "0.0"]


def test_the_best_score_may_stand_before_the_task_was_trained(by_hand):
    scores = {"a": (None, 0.5, 0.5, 0.5), "b": (None, 0.9, 0.5, 0.5), "c": (None, 0.1, 0.1, 0.1)}
    assert step_signals(by_hand(scores))["forgetting"].to_list()[2] == pytest.approx((0.0 - 0.4) / 2)


def test_a_gap_in_the_scores_leaves_the_drop_open_but_not_the_forgetting(by_hand):
    scores = {"a": (None, 0.6, None, 0.4), "b": (None, None, None, 0.3), "c": (None, None, None, 0.2)}
    store = by_hand(scores)
    rows = pair_signals(store).filter(step=3).sort("age", descending=True)
    assert rows["drop"].to_list() == [None, None]
    assert rows["forgetting"].to_list() == [pytest.approx(-0.2), None]
    steps = step_signals(store)
    assert steps["overall"].to_list() == [0.6, None, pytest.approx(0.3)]
    assert steps["overall_source"].to_list() == ["mean", None, "mean"]
    assert steps["n_old_scored"].to_list() == [0, 0, 2]
    assert run_outcomes(store)["FWT"].to_list() == [None]
    assert run_outcomes(store)["BWT"].to_list() == [pytest.approx(-0.2)]


def test_equal_changes_of_different_scores_are_equal(by_hand):
    # 0.60 - 0.55 and 0.65 - 0.60 differ in float64; as changes of scores they must tie.
    scores = {"a": (None, 0.60, 0.60, 0.55), "b": (None, 0.65, 0.65, 0.60), "c": (None, 0.1, 0.1, 0.1)}
    assert 0.55 - 0.60 != 0.60 - 0.65
    last = pair_signals(by_hand(scores)).filter(step=3)
    assert last["drop"].to_list() == last["forgetting"].to_list() == [-0.05, -0.05]
