"""Our tables against scipy, pingouin and statsmodels on the frames of signals."""

import numpy as np
import pingouin
import polars as pl
import pytest
import statsmodels.api as sm
from scipy.stats import rankdata, spearmanr

from geodiag.tables import Options, compute_tables

from .planted import noise_runs, plant

SIGNAL, TARGET = "state_gap", "forgetting"


@pytest.fixture(scope="module")
def rows(steps):
    return steps.drop_nulls([SIGNAL, TARGET])


def cell(tables, way, signal=SIGNAL, target=TARGET):
    chosen = (pl.col("signal") == signal) & (pl.col("target") == target) & (pl.col("correlation") == way)
    return tables["confounds"].row(by_predicate=chosen, named=True)


def test_pooled(tables, rows):
    row = cell(tables, "pooled")
    assert row["rho"] == pytest.approx(spearmanr(rows[SIGNAL], rows[TARGET])[0])
    assert (row["n"], row["runs"]) == (rows.height, rows["run"].n_unique())


def test_between_ranks_run_means(tables, rows):
    means = rows.group_by("run").agg(pl.col(SIGNAL, TARGET).mean())
    assert cell(tables, "between")["rho"] == pytest.approx(spearmanr(means[SIGNAL], means[TARGET])[0])


def test_norm_partial_is_the_partial_spearman(tables, rows):
    frame = rows.select(SIGNAL, TARGET, "update_norm", "state_norm").to_pandas()
    wanted = pingouin.partial_corr(frame, SIGNAL, TARGET, covar=["update_norm", "state_norm"], method="spearman")
    assert cell(tables, "norm_partial")["rho"] == pytest.approx(float(wanted["r"].iloc[0]), abs=1e-6)


def test_step_partial_removes_the_steps_mean_rank(tables, rows):
    ranks = rows.with_columns(pl.col(SIGNAL, TARGET).rank())
    left = ranks.select(pl.col(name) - pl.col(name).mean().over("step") for name in (SIGNAL, TARGET)).to_numpy()
    wanted = left[:, 0] @ left[:, 1] / np.sqrt((left**2).sum(axis=0).prod())
    assert cell(tables, "step_partial")["rho"] == pytest.approx(wanted)


def test_adjusted_p_values_count_the_tests_of_one_correlation(tables):
    for part in tables["confounds"].drop_nulls("p_whole_run").partition_by("correlation"):
        p = part["p_whole_run"].to_numpy()
        assert part["p_bh"].to_numpy() == pytest.approx(sm.stats.multipletests(p, method="fdr_bh")[1])
        assert part["p_holm"].to_numpy() == pytest.approx(sm.stats.multipletests(p, method="holm")[1])


def test_incremental_slope_is_the_cluster_robust_regression_of_ranks(tables, steps):
    names = [TARGET, "global_gap", "step", "update_norm", "state_norm"]
    known = steps.drop_nulls(names)
    ranks = np.column_stack([rankdata(known[name]) for name in names])
    groups = np.unique(known["run"].to_numpy(), return_inverse=True)[1]
    fit = sm.OLS(ranks[:, 0], sm.add_constant(ranks[:, 1:])).fit(
        cov_type="cluster", cov_kwds={"groups": groups}, use_t=True
    )
    chosen = (pl.col("signal") == "global_gap") & (pl.col("target") == TARGET)
    row = tables["incremental"].row(by_predicate=chosen, named=True)
    assert row["slope"] == pytest.approx(fit.params[1])
    assert row["slope_p"] == pytest.approx(fit.pvalues[1])


def test_a_control_is_tested_beside_the_other_controls(tables, steps):
    """The step index beside both norms, not beside itself."""
    names = [TARGET, "step", "update_norm", "state_norm"]
    ranks = np.column_stack([rankdata(steps.drop_nulls(names)[name]) for name in names])
    slope = np.linalg.lstsq(sm.add_constant(ranks[:, 1:]), ranks[:, 0], rcond=None)[0][1]
    chosen = (pl.col("signal") == "step") & (pl.col("target") == TARGET)
    assert tables["incremental"].row(by_predicate=chosen, named=True)["slope"] == pytest.approx(slope)


def test_contrasts_are_differences_of_sizes(tables, steps):
    for row in tables["contrasts"].iter_rows(named=True):
        known = steps.drop_nulls([row["signal"], row["other"], TARGET])
        first, second = (spearmanr(known[row[name]], known[TARGET])[0] for name in ("signal", "other"))
        assert (row["rho_signal"], row["rho_other"]) == pytest.approx((first, second))
        assert row["difference"] == pytest.approx(abs(first) - abs(second))
        assert row["low"] <= row["difference"] <= row["high"]


def test_pairs_of_the_task_at_one_step_share_one_place(tables, pairs):
    row = tables["confounds_pairs"].row(0, named=True)
    assert row["n"] == pairs.drop_nulls([row["signal"], row["target"]]).height
    assert row["p_whole_run"] is not None


@pytest.mark.parametrize(("cluster", "units"), [("run", 16), ("method", 4), ("size", 2)])
def test_a_coarser_cluster_counts_fewer_units(cluster, units, tmp_path):
    store = plant(tmp_path / "store", noise_runs(3, runs=16, steps=4, gradients=False))
    options = Options(resamples=20, permutations=50, cluster=cluster, least_runs=4)
    row = cell(compute_tables(store, options, only=["confounds"]), "pooled")
    assert row["runs"] == units
    # Two sizes can be exchanged in two ways, four methods in 24: the first allows no p-value below 5 %.
    assert (row["p_whole_run"] is None) == (units == 2)
    assert (row["low"] is None) == (units == 2)


def test_the_seed_decides_every_draw(store):
    options = Options(resamples=50, permutations=50, seed=7)
    first, second = (compute_tables(store, options, only=["confounds", "table04"]) for _ in range(2))
    assert all(first[name].equals(second[name]) for name in first)
    other = compute_tables(store, Options(resamples=50, permutations=50, seed=8), only=["table04"])
    assert not other["table04_scale_confidence"].equals(first["table04_scale_confidence"])


def test_asking_for_some_tables_changes_none(tables, store):
    few = compute_tables(store, Options(resamples=99, permutations=99), only=["table05", "contrasts"])
    assert list(few) == ["contrasts", "table05_method_confidence"]
    assert all(frame.equals(tables[name]) for name, frame in few.items())
