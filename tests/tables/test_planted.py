"""A store whose truth is known: what causes forgetting, what follows the step, what follows the run."""

import numpy as np
import polars as pl
import pytest

from geodiag.tables import Options, compute_tables
from geodiag.tables.incremental import ADDS, DIFFERS_BY_RUN, FOLLOWS_STEP

from .planted import Planted, plant

RUN_COUNT, STEPS = 24, 8
CAUSE, FOLLOWER, LEVEL, NOISE = "state_sar", "state_conflict", "mean_grad_cos", "active_sar"


def _run(k: int, rng: np.random.Generator) -> Planted:
    """Loss = trend over steps + the run's level + what the cause does + noise."""
    step, level, cause = np.arange(1, STEPS + 1), rng.normal(), rng.uniform(size=STEPS)
    loss = 0.02 * step + 0.05 * level + 0.15 * cause + 0.02 * rng.normal(size=STEPS) + 0.2
    signals = {
        CAUSE: cause,
        FOLLOWER: 0.1 * step + 0.03 * rng.normal(size=STEPS),
        LEVEL: 0.2 * level + 0.02 * rng.normal(size=STEPS),
    }
    return Planted(f"r{k:02d}", forgetting=-loss, signals=signals)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    rng = np.random.default_rng(0)
    store = plant(tmp_path_factory.mktemp("planted") / "store", [_run(k, rng) for k in range(RUN_COUNT)])
    return compute_tables(store, Options(resamples=200, permutations=999), only=["incremental", "confounds"])


def cell(found, signal, way):
    chosen = (pl.col("signal") == signal) & (pl.col("target") == "forgetting") & (pl.col("correlation") == way)
    return found["confounds"].row(by_predicate=chosen, named=True)


def clear(row):
    return row["high"] < 0 or row["low"] > 0


def added(found, signal):
    chosen = (pl.col("signal") == signal) & (pl.col("target") == "forgetting")
    return found["incremental"].row(by_predicate=chosen, named=True)


def test_all_three_correlate_when_pooled_and_the_papers_p_believes_them_all(found):
    for signal in (CAUSE, FOLLOWER, LEVEL):
        row = cell(found, signal, "pooled")
        assert row["p_free_paper"] <= 0.01
        assert row["rho"] < -0.2


def test_the_cause_is_clear_in_every_way_that_looks_at_steps(found):
    for way in ("pooled", "within", "step_partial", "norm_partial"):
        row = cell(found, CAUSE, way)
        assert row["high"] < 0
        assert row["p_bh"] < 0.05


def test_the_cause_adds_to_step_and_norms(found):
    row = added(found, CAUSE)
    assert row["verdict"] == ADDS
    assert row["slope_high"] < 0
    assert row["gain_low"] > 0


def test_what_follows_the_step_is_gone_at_a_fixed_step(found):
    assert clear(cell(found, FOLLOWER, "pooled"))
    assert not clear(cell(found, FOLLOWER, "step_partial"))
    assert cell(found, FOLLOWER, "pooled")["p_whole_run"] > 0.05
    assert added(found, FOLLOWER)["verdict"] == FOLLOWS_STEP
    assert abs(added(found, FOLLOWER)["gain_high"]) < 0.1


def test_what_follows_the_run_is_gone_inside_runs(found):
    for way in ("pooled", "between", "step_partial"):
        assert clear(cell(found, LEVEL, way))
    assert not clear(cell(found, LEVEL, "within"))
    assert added(found, LEVEL)["verdict"] == DIFFERS_BY_RUN


def test_noise_is_nothing(found):
    for way in ("pooled", "within", "step_partial"):
        assert not clear(cell(found, NOISE, way))
    assert added(found, NOISE)["verdict"] not in (ADDS, FOLLOWS_STEP, DIFFERS_BY_RUN)


def test_the_step_index_has_no_whole_run_test(found):
    row = cell(found, "step", "pooled")
    assert clear(row)
    assert row["p_whole_run"] is None
    assert "tests nothing" in row["note"]


def test_outcomes_of_opposite_sign_mirror_each_other(found):
    """Here nothing is ever gained, so retention loss is minus forgetting."""
    rows = found["confounds"].filter(pl.col("signal") == CAUSE)
    lost = rows.filter(pl.col("target") == "retention_loss")["rho"].to_list()
    forgot = rows.filter(pl.col("target") == "forgetting")["rho"].to_list()
    assert lost == pytest.approx([-value for value in forgot])
