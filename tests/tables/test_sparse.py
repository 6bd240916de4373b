"""Stores that lack something: what is said then, and that nothing is made up."""

import polars as pl
import pytest

from geodiag.errors import SettingsError, StoreError
from geodiag.tables import ANALYSIS_TABLES, NotInStore, Options, compute_tables, write_tables

from .planted import Planted, noise_runs, plant

QUICK = Options(resamples=50, permutations=50)


def write(tmp_path, runs):
    return plant(tmp_path / "store", runs)


def page(store, tmp_path, **options):
    write_tables(store, tmp_path / "out", QUICK, **options)
    return (tmp_path / "out" / "tables.md").read_text()


def test_without_gradients_everything_else_is_there(tmp_path):
    store = write(tmp_path, noise_runs(0, runs=6, steps=4, gradients=False))
    found = compute_tables(store, QUICK)
    assert {table.name for table in ANALYSIS_TABLES} - set(found) == {"table07_geometry_vs_gradient"}
    wide = found["table09_method_step_correlations"]
    assert wide["neg_grad_ratio"].null_count() == wide.height
    assert wide["state_gap"].null_count() == 0
    ranking = found["table10_step_predictor_ranking"]
    # What was not measured is there, last and empty.
    last = ranking.filter(pl.col("target") == "forgetting")["predictor"].to_list()[-3:]
    assert set(last) == {"Mean grad cos", "Min grad cos", "Neg-grad ratio"}
    assert found["table18_top_layer_families"]["ranking"].to_list() == ["top_geometry_conflict"]
    verdicts = dict(found["incremental"].filter(pl.col("target") == "forgetting").select("signal", "verdict").rows())
    assert verdicts["mean_grad_cos"] == "not measured"


def test_the_page_says_what_is_not_computed_and_how_to_get_it(tmp_path):
    text = page(write(tmp_path, noise_runs(0, runs=3, steps=3, gradients=False)), tmp_path)
    missing = text.split("## Not computed")[1]
    assert "Table 7" in missing
    assert "--gradients" in missing


def test_without_scores_only_layers_remain(tmp_path):
    store = write(tmp_path, noise_runs(0, runs=3, steps=3, scores=False))
    found = compute_tables(store, QUICK)
    assert "table17_family_summary" in found
    assert "table18_top_layer_families" in found
    # Alignment against conflict needs no scores; what became of the old tasks does.
    relations = dict(found["table06_pairwise_confidence"].select("relation", "spearman").rows())
    assert relations["sar_vs_conflict"] is not None
    assert relations["conflict_vs_forgetting_from_best"] is None
    assert not {"confounds", "incremental", "table03_global_step_confidence", "table21_final_performance"} & set(found)
    text = page(store, tmp_path)
    assert "cannot say what explains forgetting" in text
    assert "scores file" in text


def test_one_run_has_estimates_and_no_intervals(tmp_path):
    store = write(tmp_path, noise_runs(0, runs=1, steps=6))
    found = compute_tables(store, QUICK)
    first = found["table03_global_step_confidence"]
    assert first["spearman"].null_count() == 0
    assert first.select("ci_low", "ci_high", "p_perm").null_count().row(0) == (4, 4, 4)
    confounds = found["confounds"]
    ours = ("low", "high", "p_whole_run", "p_bh", "p_holm", "percentile_low_paper")
    assert all(confounds[name].null_count() == confounds.height for name in ours)
    assert confounds.filter(pl.col("rho").is_not_null())["note"].null_count() == 0
    assert set(found["incremental"]["verdict"]) <= {"too few runs", "not measured"}
    text = page(store, tmp_path)
    assert "With 1 run no interval is possible (6 are needed)" in text


def test_two_runs_say_that_no_interval_is_possible(tmp_path):
    text = page(write(tmp_path, noise_runs(0, runs=2, steps=6)), tmp_path)
    top = text.split("- **Read:**")[0]
    assert "With 2 runs no interval is possible (6 are needed)" in top
    assert "says nothing about others" in top
    assert "The bare step index" in top
    assert "2/(t+1)" in top
    assert "[" not in top


def test_intervals_start_at_the_fewest_runs_each_way(tmp_path):
    """Four runs: the paper's interval, none of ours. Six: both."""
    for count, ours in ((3, False), (4, False), (6, True)):
        found = compute_tables(
            write(tmp_path / str(count), noise_runs(0, runs=count, steps=5)), QUICK, only=["table03", "confounds"]
        )
        row = found["table03_global_step_confidence"].row(0, named=True)
        assert (row["ci_low"] is not None) == (count >= 4)
        assert (row["p_perm"] is not None) == (count >= 4)
        pooled = found["confounds"].filter(pl.col("target") == "forgetting").row(0, named=True)
        assert (pooled["low"] is not None) == ours


def test_one_method_one_size(tmp_path):
    runs = [Planted(run.name, forgetting=run.forgetting) for run in noise_runs(0, runs=6, steps=4)]
    found = compute_tables(write(tmp_path, runs), QUICK)
    assert found["table05_method_confidence"]["method"].unique().to_list() == ["EWC"]
    assert found["table08_step_estimates_by_scale"]["size"].to_list() == ["All", "4B"]
    assert "fig10_seq_sft_retention_loss_correlations" not in found


def test_a_single_step_has_no_forgetting(tmp_path):
    store = write(tmp_path, noise_runs(0, runs=3, steps=1))
    found = compute_tables(store, QUICK)
    assert "table03_global_step_confidence" not in found
    assert found["table21_final_performance"]["forgetting"].null_count() == 3
    with pytest.raises(NotInStore, match="no old task was scored"):
        compute_tables(store, QUICK, only=["table03"])


def test_constant_scores_correlate_with_nothing(tmp_path):
    runs = [Planted(f"r{k}", forgetting=[0.0] * 4) for k in range(6)]
    store = write(tmp_path, runs)
    found = compute_tables(store, QUICK)
    assert found["table03_global_step_confidence"]["spearman"].null_count() == 4
    about = (pl.col("target") == "forgetting") & (pl.col("correlation") == "pooled")
    assert set(found["confounds"].filter(about)["note"]) == {"target is constant"}
    assert "No signal can be held against forgetting" in page(store, tmp_path)


def test_runs_of_different_length(tmp_path):
    runs = _ragged()
    found = compute_tables(write(tmp_path, runs), QUICK, only=["confounds"])
    rows = found["confounds"].filter(pl.col("target") == "forgetting", pl.col("signal") == "state_gap")
    assert rows.row(0, named=True)["n"] == sum(run.steps - 1 for run in runs)


def _ragged():
    return [run for steps in (4, 6) for run in _renamed(noise_runs(steps, runs=4, steps=steps), steps)]


def _renamed(runs, steps):
    for run in runs:
        run.name = f"{run.name}-{steps}"
    return runs


def test_published_rows_stand_apart_where_the_store_has_none_of_them(tmp_path):
    runs = [Planted(run.name, size="tiny", forgetting=run.forgetting) for run in noise_runs(0, runs=2, steps=4)]
    text = page(write(tmp_path, runs), tmp_path, compare_paper=True)
    section = text.split("### Table 4")[1].split("### Table 5")[0]
    ours, theirs = section.split("Published; no row of it is in this store.")
    assert "| tiny" in ours
    assert "| 14B" in theirs
    assert "(published)" not in section
    # Table 3 speaks of the same signals whatever the sizes.
    assert "ρ (published)" in text.split("### Table 3")[1].split("### Table 4")[0]


def test_where_nothing_can_be_tested_no_empty_rows_are_shown(tmp_path):
    text = page(write(tmp_path, noise_runs(0, runs=2, steps=4)), tmp_path)
    section = text.split("### What each signal adds")[1].split("\n### ")[0]
    assert "No signal can be tested in this store" in section
    assert "Global gap" not in section


def test_an_unknown_table_is_named(tmp_path):
    store = write(tmp_path, noise_runs(0, runs=1, steps=2))
    with pytest.raises(SettingsError, match="no table 'table99'; one of: incremental, confounds"):
        compute_tables(store, QUICK, only=["table99"])


def test_an_empty_store_is_said_to_be_empty(tmp_path):
    from geodiag.store import StoreReader, create_store

    create_store(tmp_path / "store")
    with pytest.raises(StoreError, match="holds no run"):
        compute_tables(StoreReader(tmp_path / "store"), QUICK)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"cluster": "task"}, "unknown cluster 'task'; one of: run, size"),
        ({"transitions": 0}, "transitions is 0"),
        ({"top_layers": 0}, "top_layers is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"resamples": -1}, "resamples is -1"),
        ({"level": 95}, "level is 95"),
        ({"least_runs": 1}, "least_runs is 1"),
    ],
)
def test_options_are_checked_before_anything_is_computed(wrong, told):
    with pytest.raises(SettingsError, match=told):
        Options(**wrong)
