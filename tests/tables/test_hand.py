"""Small stores whose tables can be worked out by hand."""

import polars as pl
import pytest

from geodiag.tables import Options, compute_tables
from geodiag.tables.pairs import harmful_transitions

from .planted import Planted, plant

NONE = Options(resamples=0, permutations=0)
# Rows are steps, columns tasks. Drops of old tasks: step 2: task 1 -0.1; step 3: task 1 -0.3, task 2 +0.1;
# step 4: task 1 +0.2, task 2 -0.2, task 3 -0.1.
FIRST = [[0.8, 0.1, 0.1, 0.1], [0.7, 0.6, 0.2, 0.1], [0.4, 0.7, 0.5, 0.2], [0.6, 0.5, 0.4, 0.9]]
# Drops: step 2: task 1 -0.25; step 3: none is lost.
SECOND = [[0.5, 0.0, 0.0], [0.25, 0.5, 0.0], [0.5, 0.5, 0.5]]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    runs = [
        Planted("a", size="4B", method="EWC", forgetting=[0] * 4, matrix=FIRST),
        Planted("b", size="600M", method="Seq. SFT", forgetting=[0] * 3, matrix=SECOND),
    ]
    return plant(tmp_path_factory.mktemp("hand") / "store", runs)


@pytest.fixture(scope="module")
def tables(store):
    return compute_tables(store, NONE)


def test_harmful_transitions(tables):
    rows = tables["table16_harmful_transitions"]
    found = rows.select("size", "method", "step", "new_task", "old_task", "drop", "forgetting").rows()
    # Forgetting: task 1 at step 3 is 0.4 - 0.8; task 2 at step 4 is 0.5 - 0.7; task 3 at step 4 is 0.4 - 0.5.
    assert found == [
        ("4B", "EWC", 3, "Task 3", "Task 1", -0.3, -0.4),
        ("600M", "Seq. SFT", 2, "Task 2", "Task 1", -0.25, -0.25),
        ("4B", "EWC", 4, "Task 4", "Task 2", -0.2, -0.2),
        ("4B", "EWC", 2, "Task 2", "Task 1", -0.1, -0.1),
        ("4B", "EWC", 4, "Task 4", "Task 3", -0.1, -0.1),
    ]


def test_as_many_transitions_as_asked_for(store):
    found = compute_tables(store, Options(resamples=0, permutations=0, transitions=2), only=["table16"])
    assert found["table16_harmful_transitions"]["drop"].to_list() == [-0.3, -0.25]


def test_final_performance(tables):
    rows = tables["table21_final_performance"].rows()
    # Run b: all tasks at 0.5, the best before were 0.5 for both old ones. Run a: old tasks 0.6, 0.5, 0.4; lost
    # against the best before: 0.6 - 0.8, 0.5 - 0.7, 0.4 - 0.5.
    assert rows[0] == ("600M", "Seq. SFT", 0.5, 0.5, 0.0, 0.5)
    assert rows[1][:2] == ("4B", "EWC")
    assert rows[1][2:] == pytest.approx((0.6, 0.5, -0.5 / 3, 0.9))


def test_task_names_are_readable():
    from geodiag.tables.pairs import task_label

    assert task_label("computer_science") == "Computer Science"


def test_no_transition_is_listed_where_nothing_was_lost(tmp_path):
    run = Planted("a", forgetting=[0] * 2, matrix=[[0.5, 0.1], [0.5, 0.6]])
    found = compute_tables(plant(tmp_path / "store", [run]), NONE, only=["table16"])
    assert found["table16_harmful_transitions"].height == 0


class Layers:
    """Three steps of one run, one block of layers; the top two of a step count."""

    def __init__(self, top, families):
        self.top = pl.DataFrame(top, schema=["method", "ranking", "family", "weight"], orient="row")
        self.families = pl.DataFrame({"family": families})


def test_family_shares_are_sums_of_weights():
    from geodiag.tables.layers import top_families, top_families_by_method

    geometry, gradient = "top_geometry_conflict", "top_negative_gradient"
    top = [("EWC", geometry, "q_proj", 1.0), ("EWC", geometry, "v_proj", 0.5), ("EWC", geometry, "up_proj", 0.5)]
    top += [("Seq. SFT", geometry, "q_proj", 1.0), ("Seq. SFT", geometry, "q_proj", 1.0)]
    top += [("EWC", gradient, "v_proj", 2.0)]
    inputs = Layers(top, ["q_proj", "v_proj", "up_proj", "k_proj"])
    first, second = top_families(inputs).rows(named=True)
    # Of four places, q has three, v and up half of one each; k is there and never on top; o, gate, down are not.
    assert first == {
        "ranking": geometry,
        **{"q_proj": 0.75, "k_proj": 0.0, "v_proj": 0.125, "o_proj": None},
        **{"gate_proj": None, "up_proj": 0.125, "down_proj": None},
    }
    assert (second["v_proj"], second["q_proj"]) == (1.0, 0.0)
    # A family that is never on top has a row and nothing in it; one without layers (o, gate, down) has none.
    wanted = {
        (geometry, "Seq. SFT"): (1.0, 0.0, 0.0, 0.0),
        (geometry, "EWC"): (0.5, 0.0, 0.25, 0.25),
        (gradient, "EWC"): (0.0, 0.0, 1.0, 0.0),
    }
    names = ("q_proj", "k_proj", "v_proj", "up_proj")
    rows = [(*group, *pair) for group, shares in wanted.items() for pair in zip(names, shares, strict=True)]
    assert top_families_by_method(inputs).rows() == rows


def test_family_summary_is_over_steps(tmp_path):
    from geodiag.signals import family_signals

    store = plant(tmp_path / "store", [Planted("a", forgetting=[0.0] * 4)])
    found = compute_tables(store, NONE, only=["table17"])["table17_family_summary"]
    rows = family_signals(store)
    assert found["family"].to_list() == ["q_proj", "v_proj", "up_proj"]
    for row in found.iter_rows(named=True):
        # Steps 2, 3 and 4 have pairs.
        own = rows.filter(pl.col("family") == row["family"], pl.col("step") > 1)
        assert own.height == 3
        assert row["median_sar"] == sorted(own["active_sar"])[1]
        assert row["mean_gc"] == pytest.approx(sum(own["active_conflict"]) / 3)
        assert row["neg_grad_ratio"] == pytest.approx(sum(own["neg_grad_ratio"]) / 3)


def test_the_worst_of_equal_drops_is_the_more_forgotten(tmp_path):
    matrix = [[0.9, 0.5, 0.1], [0.7, 0.5, 0.1], [0.6, 0.4, 0.5]]
    store = plant(tmp_path / "store", [Planted("a", forgetting=[0.0] * 3, matrix=matrix)])
    from geodiag.tables.inputs import Inputs

    rows = harmful_transitions(Inputs(store, NONE)).select("step", "old_task", "drop", "forgetting").rows()
    assert rows == [(2, "Task 1", -0.2, -0.2), (3, "Task 1", -0.1, -0.3), (3, "Task 2", -0.1, -0.1)]
