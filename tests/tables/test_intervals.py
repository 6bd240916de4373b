"""Intervals of the correlations that stand without one: against other tables, scipy and a bootstrap written out."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from geodiag.tables import Options, compute_tables
from geodiag.tables.intervals import INTERVAL_SCHEMA

from .planted import noise_runs, plant

SUMMARY = ["spearman", "ci_low", "ci_high"]


@pytest.fixture(scope="module")
def found(tables):
    return tables["intervals"]


def rows(found, level, by, **where):
    chosen = [pl.col("level") == level, pl.col("by") == by, *(pl.col(name) == value for name, value in where.items())]
    return found.filter(*chosen)


def test_columns_and_key(found):
    assert found.schema == INTERVAL_SCHEMA
    assert not found.select("level", "by", "group", "predictor", "target").is_duplicated().any()
    groups = {(level, by) for level, by in found.select("level", "by").rows()}
    assert groups == {
        *((level, by) for level in ("step", "pair") for by in ("all", "size", "method")),
        ("step", "seq_sft_size"),
    }
    assert not found.filter(pl.col("predictor") == pl.col("target")).height


@pytest.mark.parametrize(("name", "by"), [("table03", "all"), ("table04", "size"), ("table05", "method")])
def test_they_are_the_intervals_of_the_tables_that_have_some(tables, found, name, by):
    (table,) = [frame for key, frame in tables.items() if key.startswith(name)]
    own = rows(found, "step", by, target="forgetting")
    for row in table.iter_rows(named=True):
        here = own.filter(pl.col("predictor") == row["signal"], pl.col("group") == row.get(by, "all"))
        assert here.select(SUMMARY).row(0) == tuple(row[key] for key in SUMMARY)


def test_pairs_too(tables, found):
    relations = [("mean_sar", "mean_conflict"), ("mean_conflict", "drop"), ("mean_conflict", "forgetting")]
    for row, (one, other) in zip(tables["table06_pairwise_confidence"].iter_rows(named=True), relations, strict=True):
        here = rows(found, "pair", "all", predictor=one, target=other).row(0, named=True)
        assert [here[key] for key in (*SUMMARY, "n")] == [row[key] for key in (*SUMMARY, "n")]


def test_estimates_and_counts_are_those_of_scipy(found, steps, pairs):
    kinds = {"step": steps, "pair": pairs}
    for row in found.iter_rows(named=True):
        frame = kinds[row["level"]].drop_nulls([row["predictor"], row["target"]])
        if row["by"] in ("size", "method"):
            frame = frame.filter(pl.col(row["by"]) == row["group"])
        if row["by"] == "seq_sft_size":
            frame = frame.filter(pl.col("size") == row["group"], pl.col("method") == "Seq. SFT")
        assert (row["n"], row["runs"]) == (frame.height, frame["run"].n_unique())
        if row["spearman"] is not None:
            rho = spearmanr(frame[row["predictor"]], frame[row["target"]])[0]
            assert row["spearman"] == pytest.approx(rho, abs=1e-12)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Eighty runs, ten of them of each size and method, and their intervals."""
    store = plant(tmp_path_factory.mktemp("many") / "store", noise_runs(5, runs=80, steps=4))
    options = Options(resamples=1500, permutations=0)
    return store, compute_tables(store, options, only=["intervals"])["intervals"]


@pytest.mark.parametrize(
    ("level", "by", "group", "predictor", "target"),
    [
        ("step", "method", "EWC", "min_grad_cos", "overall"),
        ("step", "seq_sft_size", "4B", "state_gap", "retention_loss"),
        ("pair", "size", "0.6B", "mean_conflict", "drop"),
    ],
)
def test_an_interval_is_that_of_a_bootstrap_written_out(many, level, by, group, predictor, target):
    """Runs drawn with replacement and ranked anew each time; equal up to the chance of 1,500 draws."""
    row = rows(many[1], level, by, group=group, predictor=predictor, target=target).row(0, named=True)
    frame = _frame(many[0], level, by, group).select("run", predictor, target).drop_nulls()
    parts = [part.select(predictor, target).to_numpy() for part in frame.partition_by("run")]
    rng = np.random.default_rng(11)
    drawn = [np.concatenate([parts[k] for k in rng.integers(0, len(parts), len(parts))]) for _ in range(1500)]
    low, high = np.quantile([spearmanr(*sample.T)[0] for sample in drawn], [0.025, 0.975])
    assert row["runs"] == len(parts)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high), abs=0.05)


def _frame(store, level, by, group):
    from geodiag.signals import pair_signals, step_signals

    frame = step_signals(store) if level == "step" else pair_signals(store)
    if by == "seq_sft_size":
        return frame.filter(pl.col("size") == group, pl.col("method") == "Seq. SFT")
    return frame.filter(pl.col(by) == group)


def test_where_runs_are_too_few_there_is_no_interval_and_a_reason(found):
    few = found.filter(pl.col("runs") < 4)
    assert few.height
    assert few["ci_low"].null_count() == few["ci_high"].null_count() == few.height
    assert few.filter(pl.col("by") == "seq_sft_size")["note"].drop_nulls().str.contains("runs, at least 4").any()
    known = found.filter(pl.col("ci_low").is_not_null())
    assert known["note"].null_count() == known.height
    assert (found["note"].is_not_null() == found["ci_low"].is_null()).all()


def test_a_single_run_has_estimates_alone(tmp_path):
    store = plant(tmp_path / "store", noise_runs(0, runs=1, steps=5))
    table = compute_tables(store, Options(resamples=20, permutations=0), only=["intervals"])["intervals"]
    assert table["ci_low"].null_count() == table.height
    estimated = table.filter(pl.col("spearman").is_not_null())
    assert set(estimated["note"]) == {"1 run, at least 4 are needed"}
    assert set(table["by"]) == {"all", "size", "method", "seq_sft_size"}


def test_without_scores_pairs_are_left_and_without_both_it_says_so(tmp_path):
    from geodiag.tables import NotInStore

    scoreless = plant(tmp_path / "a", noise_runs(0, runs=4, steps=3, scores=False))
    table = compute_tables(scoreless, Options(resamples=20, permutations=0), only=["intervals"])["intervals"]
    known = table.filter(pl.col("spearman").is_not_null())
    assert set(known.select("level", "predictor", "target").rows()) == {("pair", "mean_sar", "mean_conflict")}
    single = plant(tmp_path / "b", noise_runs(0, runs=4, steps=1, scores=False))
    with pytest.raises(NotInStore, match="no run has scores, and no new task was compared with an old one"):
        compute_tables(single, only=["intervals"])
