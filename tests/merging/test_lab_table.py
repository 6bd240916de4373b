"""The shipped table of merges: whole, and of the very runs that the shipped store holds."""

import polars as pl
import pytest

import geodiag


@pytest.fixture(scope="module")
def table():
    return pl.read_csv(geodiag.load_example("lab").path.parent / "merges.csv")


def test_every_size_and_seed_has_every_method_once(table):
    counts = table.group_by("size", "seed", "method").len()
    assert counts["len"].max() == 1
    assert table.group_by("size", "seed").len()["len"].unique().to_list() == [table["method"].n_unique()]
    assert table.select("size", "seed").n_unique() >= 6
    assert table["method"].n_unique() >= 10


def test_sequence_training_is_scored_as_when_it_was_trained(table):
    """Scored again from the checkpoints, by the script, against what the training wrote down."""
    stored = geodiag.load_example("lab").outcomes().filter(pl.col("method") == "Seq. SFT")
    both = table.filter(pl.col("method") == "Seq. SFT").join(stored, on=["size", "seed"], suffix="_stored")
    assert both.height == table.select("size", "seed").n_unique()
    for column in ("final_overall", "old_mean"):
        assert (both[column] - both[f"{column}_stored"]).abs().max() < 2e-6


def test_overall_is_the_mean_of_fourteen_tasks(table):
    overall = (13 * table["old_mean"] + table["last_task"]) / 14
    assert (overall - table["final_overall"]).abs().max() < 2e-6
