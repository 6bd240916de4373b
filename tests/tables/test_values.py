"""The paper's tables against scipy and plain loops on the frames of signals."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr, spearmanr

from geodiag.signals import run_outcomes
from geodiag.tables import ANALYSIS_TABLES, Options

CORE = ("update_norm", "active_conflict", "state_gap", "global_gap")
OUR_NAMES = {"old_task_mean": "old_mean", "old_task_change": "drop"}


def oracle(frame, signal, target, statistic=spearmanr):
    """A correlation on the rows that have both; None where there are too few or one is constant."""
    both = frame.select(pl.col(signal).cast(pl.Float64).alias("x"), pl.col(target).alias("y")).drop_nulls()
    if both.height < 3 or both["x"].n_unique() == 1 or both["y"].n_unique() == 1:
        return None
    return float(statistic(both["x"].to_numpy(), both["y"].to_numpy())[0])


def same(found, wanted):
    assert (found is None) == (wanted is None)
    assert found is None or found == pytest.approx(wanted, abs=1e-12)


def test_table03_estimates_and_counts(tables, steps):
    for row in tables["table03_global_step_confidence"].iter_rows(named=True):
        same(row["spearman"], oracle(steps, row["signal"], "forgetting"))
        assert row["n"] == steps.select(row["signal"], "forgetting").drop_nulls().height


def test_table03_interval_is_the_percentile_bootstrap_over_runs(store, steps):
    """A plain loop over 1,000 resamples; both sides have Monte Carlo error."""
    table = _named("table03").function(store, Options(resamples=4000, permutations=0, seed=5))
    rng, rows = np.random.default_rng(0), steps.drop_nulls(["state_gap", "forgetting"])
    parts = rows.select("run", "state_gap", "forgetting").partition_by("run")
    seen = []
    for _ in range(1000):
        drawn = pl.concat([parts[k] for k in rng.integers(0, len(parts), len(parts))])
        seen.append(oracle(drawn, "state_gap", "forgetting"))
    row = table.row(by_predicate=pl.col("signal") == "state_gap", named=True)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(np.quantile(seen, [0.025, 0.975])), abs=0.03)


def test_table03_p_is_the_free_shuffle(store, steps):
    """At this many rows the free shuffle agrees with the textbook p-value of independent rows."""
    table = _named("table03").function(store, Options(resamples=0, permutations=4000))
    for row in table.iter_rows(named=True):
        both = steps.select(row["signal"], "forgetting").drop_nulls().to_numpy()
        assert row["p_perm"] == pytest.approx(spearmanr(both[:, 0], both[:, 1])[1], abs=0.03)


@pytest.mark.parametrize(
    ("stem", "by"), [("table04_scale_confidence", "size"), ("table05_method_confidence", "method")]
)
def test_grouped_estimates(stem, by, tables, steps):
    for row in tables[stem].iter_rows(named=True):
        same(row["spearman"], oracle(steps.filter(pl.col(by) == row[by]), row["signal"], "forgetting"))


def test_groups_stand_in_the_papers_order(tables):
    assert tables["table04_scale_confidence"]["size"].unique(maintain_order=True).to_list() == ["0.6B", "4B"]
    methods = ["Seq. SFT", "EWC", "FOREVER", "AIMMerging"]
    assert tables["table09_method_step_correlations"]["method"].to_list() == methods


def test_table06(tables, pairs):
    names = {
        "sar_vs_conflict": ("mean_sar", "mean_conflict"),
        "conflict_vs_immediate_change": ("mean_conflict", "drop"),
    }
    names["conflict_vs_forgetting_from_best"] = ("mean_conflict", "forgetting")
    for row in tables["table06_pairwise_confidence"].iter_rows(named=True):
        signal, target = names[row["relation"]]
        same(row["spearman"], oracle(pairs, signal, target))
        assert row["n"] == pairs.select(signal, target).drop_nulls().height


def test_table07_picks_the_closest_of_each_side(tables, steps):
    for row in tables["table07_geometry_vs_gradient"].iter_rows(named=True):
        target = OUR_NAMES.get(row["target"], row["target"])
        sides = {"geometry": CORE[1:], "gradient": ("neg_grad_ratio", "min_grad_cos")}
        best = {}
        for side, names in sides.items():
            all_of = {name: oracle(steps, name, target) for name in names}
            best[side] = max(all_of, key=lambda name: abs(all_of[name]))
            assert row[f"{side}_predictor"] == best[side]
            same(row[f"{side}_spearman"], all_of[best[side]])
        assert row["delta_abs"] == pytest.approx(abs(row["geometry_spearman"]) - abs(row["gradient_spearman"]))


def test_table08_repeats_tables_3_and_4(tables):
    wide = tables["table08_step_estimates_by_scale"]
    first, others = tables["table03_global_step_confidence"], tables["table04_scale_confidence"]
    assert wide["size"].to_list() == ["All", "0.6B", "4B"]
    assert wide.row(0)[1:] == pytest.approx(first["spearman"].to_list())
    assert [v for row in wide.rows()[1:] for v in row[1:]] == pytest.approx(others["spearman"].to_list())


def test_table09(tables, steps):
    for row in tables["table09_method_step_correlations"].iter_rows(named=True):
        rows = steps.filter(pl.col("method") == row.pop("method"))
        for signal, value in row.items():
            same(value, oracle(rows, signal, "forgetting"))


@pytest.mark.parametrize("stem", ["table10_step_predictor_ranking", "table15_pair_predictor_ranking"])
def test_rankings(stem, tables, steps, pairs):
    from geodiag.tables.rankings import PAIR_PREDICTORS, STEP_PREDICTORS

    norms = steps.select("run", "step", "update_norm", "state_norm")
    of_pairs = stem.startswith("table15")
    rows = pairs.join(norms, on=["run", "step"]) if of_pairs else steps
    columns = {p.label: p.column for p in (PAIR_PREDICTORS if of_pairs else STEP_PREDICTORS)}
    for row in tables[stem].iter_rows(named=True):
        target = OUR_NAMES.get(row["target"], row["target"])
        same(row["spearman"], oracle(rows, columns[row["predictor"]], target))
        same(row["pearson"], oracle(rows, columns[row["predictor"]], target, pearsonr))
    for part in tables[stem].partition_by("target"):
        sizes = part["spearman"].drop_nulls().abs().to_list()
        assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("stem", "by"), [("table13_pairwise_by_method", "method"), ("table14_pairwise_by_scale", "size")]
)
def test_pairs_by_group(stem, by, tables, pairs):
    relations = {"sar_gc": ("mean_sar", "mean_conflict"), "sar_drop": ("mean_sar", "drop")}
    relations |= {"gc_drop": ("mean_conflict", "drop"), "gc_forget": ("mean_conflict", "forgetting")}
    for row in tables[stem].iter_rows(named=True):
        rows = pairs.filter(pl.col(by) == row[by])
        for name, (signal, target) in relations.items():
            same(row[name], oracle(rows, signal, target))
        assert row["n"] == rows.height
        assert row["median_sar"] == pytest.approx(np.median(rows["mean_sar"].to_numpy()))
        assert row["median_gc"] == pytest.approx(np.median(rows["mean_conflict"].to_numpy()))


def test_short_forms_repeat_the_long_ones(tables):
    long, short = tables["table13_pairwise_by_method"], tables["table11_pairwise_estimates_by_method"]
    assert short.equals(long.select(short.columns))
    long, short = tables["table21_final_performance"], tables["table20_final_overall"]
    assert short.equals(long.select(short.columns))


def test_table21_averages_runs_of_one_size_and_method(tables, store):
    runs = run_outcomes(store)
    for row in tables["table21_final_performance"].iter_rows(named=True):
        own = runs.filter(pl.col("size") == row["size"], pl.col("method") == row["method"])
        for name, column in {"overall": "final_overall", "current": "current", "forgetting": "forgetting"}.items():
            known = [v for v in own[column] if v is not None]
            same(row[name], np.mean(known) if known else None)


def test_figure_10_is_seq_sft_against_retention_loss(tables, steps):
    plain = steps.filter(pl.col("method") == "Seq. SFT")
    for row in tables["fig10_seq_sft_retention_loss_correlations"].iter_rows(named=True):
        for signal in CORE[1:]:
            same(row[signal], oracle(plain.filter(pl.col("size") == row["size"]), signal, "retention_loss"))


def test_figures_12_and_13(tables, steps):
    for row in tables["fig12_method_correlation_heatmaps"].iter_rows(named=True):
        rows = steps.filter(pl.col("method") == row["method"])
        same(row["spearman"], oracle(rows, row["signal"], OUR_NAMES.get(row["target"], row["target"])))
    for row in tables["fig13_step_explanation_heatmap"].iter_rows(named=True):
        same(row["spearman"], oracle(steps, row["signal"], OUR_NAMES.get(row["target"], row["target"])))


def _named(stem):
    return next(table for table in ANALYSIS_TABLES if table.name.startswith(stem))
