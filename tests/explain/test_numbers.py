"""Every number of an explanation against the raw rows."""

from statistics import mean, median

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from geodiag.explain import StoreEvidence, explain_step
from geodiag.store import StoreReader

from . import planted
from .planted import FAMILIES, ITEMS, Plan
from .recompute import Raw, detrended_z, percentile, robust_z

RUN, STEP = "b", 6


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("numbers") / "store"
    sizes = {"a": "tiny", "b": "tiny", "c": "small", "d": "tiny", "e": "tiny", "f": "small", "g": "tiny"}
    planted.write(path, [Plan(name, k, size=size, gradients=True) for k, (name, size) in enumerate(sizes.items())])
    return StoreReader(path)


@pytest.fixture(scope="module")
def raw(store):
    return Raw(store)


@pytest.fixture(scope="module")
def explanation(store):
    return explain_step(store, RUN, STEP)


def test_old_tasks(explanation, raw):
    old = raw.old(RUN, STEP)
    quantile = stats.norm.ppf(1 - 0.05 / (2 * len(old)))
    every = [(run, t, j) for run in raw.tasks for t in raw.steps(run) for j in raw.old(run, t)]
    for task in old:
        line = explanation.line(f"task:{task}")
        now, before = raw.score(RUN, STEP, task)["score"], raw.score(RUN, STEP - 1, task)["score"]
        assert line.value == pytest.approx(now - before)
        assert line.numbers["now"] == now
        earlier = [raw.score(RUN, t, task)["score"] for t in range(1, STEP)]
        assert line.numbers["forgetting"] == pytest.approx(now - max(earlier))
        assert line.numbers["best_step"] == 1 + earlier.index(max(earlier))
        # Newcombe's interval as statsmodels has it, at the level of one of so many joint intervals.
        counts = [round(now * ITEMS), ITEMS, round(before * ITEMS), ITEMS]
        low, high = confint_proportions_2indep(*counts, method="newcomb", compare="diff", alpha=0.05 / len(old))
        assert (line.numbers["drop_low"], line.numbers["drop_high"]) == pytest.approx((low, high), abs=1e-5)
        assert line.warn == (high < 0)
        others = [raw.drop(*key) for key in every if key != (RUN, STEP, task)]
        assert line.place.percentile == pytest.approx(percentile(line.value, np.round(others, 12)))
        assert line.place.among == len(others)
        own = [raw.drop(*key) for key in every if key[0] == RUN]
        assert line.place.rank == 1 + sum(round(d, 12) > line.value for d in own)
        if line.numbers.get("items_needed"):
            p = (now + before) / 2
            assert line.numbers["items_needed"] == np.ceil(2 * p * (1 - p) * (quantile / line.value) ** 2)


def test_old_tasks_together(explanation, raw):
    line = explanation.line("mean_drop")
    course = {t: raw.mean_drop(RUN, t) for t in raw.steps(RUN)}
    assert line.value == pytest.approx(course[STEP])
    assert line.course == pytest.approx(tuple(course.values()))
    others = [v for t, v in course.items() if t != STEP and v is not None]
    if line.place.detrended:
        known = {t: v for t, v in course.items() if v is not None}
        assert line.place.z == pytest.approx(detrended_z(known, STEP))
    else:
        assert line.place.z == pytest.approx(robust_z(line.value, others))


def test_update_norm_is_placed_among_runs_of_its_size(explanation, raw):
    line = explanation.line("update_norm")
    course = {t: raw.update_norm(RUN, t) for t in raw.steps(RUN)}
    assert line.value == pytest.approx(course[STEP])
    assert line.place.rank == 1 + sum(v > course[STEP] for v in course.values())
    expected = detrended_z(course, STEP) if line.place.detrended else None
    expected = expected or robust_z(course[STEP], [v for t, v in course.items() if t != STEP])
    assert line.place.z == pytest.approx(expected)
    tiny = [run for run in raw.tasks if raw.sizes[run] == "tiny"]
    others = [raw.update_norm(run, t) for run in tiny for t in raw.steps(run) if (run, t) != (RUN, STEP)]
    at_step = [raw.update_norm(run, STEP) for run in tiny if run != RUN]
    assert (line.place.percentile, line.place.among) == (pytest.approx(percentile(line.value, others)), len(others))
    assert (line.place.at_step, line.place.among_at_step) == (pytest.approx(percentile(line.value, at_step)), 4)


def test_conflicts_and_gaps(explanation, raw):
    active, state = raw.conflict(RUN, STEP, "active"), raw.conflict(RUN, STEP, "state")
    assert explanation.line("active_conflict").value == pytest.approx(active)
    gap = explanation.line("state_gap")
    assert gap.value == pytest.approx(state - active)
    course = {t: raw.conflict(RUN, t, "state") - raw.conflict(RUN, t, "active") for t in range(2, 9)}
    assert gap.place.detrended
    assert gap.place.z == pytest.approx(detrended_z(course, STEP))
    assert f"times 2/({STEP} + 1)" in explanation.line("global_gap").text
    # The rows' lambda is 1e-6, so the limit holds to about as much.
    assert explanation.line("global_gap").value == pytest.approx(gap.value * 2 / (STEP + 1), abs=1e-4)


def test_own_task(explanation, raw):
    line, task = explanation.line("current"), raw.task_of(RUN, STEP)
    assert line.value == raw.score(RUN, STEP, task)["score"]
    peers = [raw.score(run, STEP, task)["score"] for run in raw.tasks if raw.sizes[run] == "tiny" and run != RUN]
    assert (line.numbers["peers"], line.numbers["n_peers"]) == (median(peers), 4)
    others = [raw.score(RUN, t, raw.task_of(RUN, t))["score"] for t in raw.steps(RUN) if t != STEP]
    assert line.numbers["others"] == median(others)
    assert line.numbers["gain"] == pytest.approx(line.value - raw.score(RUN, STEP - 1, task)["score"])


@pytest.mark.parametrize("family", FAMILIES)
def test_shares(explanation, raw, family):
    line = explanation.line(f"family:{family}")
    course = {t: raw.share(RUN, t, "family", family) for t in raw.steps(RUN)}
    others = [v for t, v in course.items() if t != STEP]
    assert line.value == pytest.approx(course[STEP])
    assert line.numbers["usual"] == pytest.approx(median(others))
    odds = [v / (1 - v) for v in others]
    # The median of log odds: with an odd number of others it is the log of the median odds.
    assert line.numbers["odds_ratio"] == pytest.approx(course[STEP] / (1 - course[STEP]) / median(odds))
    if not line.place.detrended:
        logs = np.log(odds)
        assert line.place.z == pytest.approx(robust_z(np.log(course[STEP] / (1 - course[STEP])), logs))


def test_parts_of_the_change_of_state_conflict_add_up_to_it(explanation, raw):
    change = raw.conflict(RUN, STEP, "state") - raw.conflict(RUN, STEP - 1, "state")
    for level in ("family", "block"):
        lines = [line for section in explanation.sections for line in (*section.lines, *section.more)]
        parts = [line.numbers["state_conflict_change"] for line in lines if line.name.startswith(f"{level}:")]
        assert sum(parts) == pytest.approx(change)
    rows = [r for r in raw.rows["pairs"] if (r["run"], r["kind"]) == (RUN, "state")]
    now, before = ([r for r in rows if r["step"] == t] for t in (STEP, STEP - 1))
    q = [sum(r["conflict"] for r in part if r["family"] == "q_proj") / len(part) for part in (now, before)]
    assert explanation.line("family:q_proj").numbers["state_conflict_change"] == pytest.approx(q[0] - q[1])
    old = [r for r in now if r["object_j"] != f"task:{raw.task_of(RUN, STEP)}"]
    moved = mean(r["conflict"] for r in old) - mean(r["conflict"] for r in before)
    assert f"{moved:+.4f} because the state moved" in explanation.section("where").notes[-1]


def test_pairs(explanation, raw):
    new = raw.task_of(RUN, STEP)
    for old in raw.old(RUN, STEP):
        line = explanation.line(f"pair:{old}")
        assert line.value == pytest.approx(raw.pair(RUN, new, old, "conflict"))
        assert line.numbers["mean_sar"] == pytest.approx(raw.pair(RUN, new, old, "sar"))
        rows = [r for r in raw.rows["gradients"] if (r["run"], r["step"]) == (RUN, STEP)]
        rows = [r for r in rows if {r["task_i"], r["task_j"]} == {new, old}]
        assert line.numbers["mean_grad_cos"] == pytest.approx(mean(r["cos"] for r in rows))
        reliability = mean((r["reliability_i"] + r["reliability_j"]) / 2 for r in rows)
        assert line.numbers["grad_reliability"] == pytest.approx(reliability)
        same = [raw.drop(run, STEP, old) for run in raw.tasks if run != RUN]
        assert (line.numbers["same_n"], line.numbers["same_median"]) == (6, pytest.approx(median(same)))
        assert line.numbers["same_low"] == pytest.approx(min(same))


def test_pairs_that_are_alike_elsewhere(explanation, raw):
    new, old = raw.task_of(RUN, STEP), raw.old(RUN, STEP)[0]
    every = [(run, raw.task_of(run, t), j, t) for run in raw.tasks for t in raw.steps(run) for j in raw.old(run, t)]
    gc, sar = (stats.rankdata([raw.pair(run, i, j, c) for run, i, j, _ in every]) for c in ("conflict", "sar"))
    here = next(k for k, (run, i, j, _) in enumerate(every) if (run, i, j) == (RUN, new, old))
    others = [k for k, key in enumerate(every) if key[0] != RUN]
    distance = {k: max(abs(gc[k] - gc[here]), abs(sar[k] - sar[here])) for k in others}
    nearest = sorted(others, key=lambda k: distance[k])
    cut = distance[nearest[19]]
    assert sum(d <= cut for d in distance.values()) == 20, "a tie at the last place"
    drops = [raw.drop(every[k][0], every[k][3], every[k][2]) for k in nearest[:20]]
    line = explanation.line(f"pair:{old}")
    assert line.numbers["alike_median"] == pytest.approx(median(drops))
    assert line.numbers["alike_lost"] == pytest.approx(mean(d < -1e-12 for d in drops))
    assert line.numbers["alike_all_median"] == pytest.approx(
        median(raw.drop(every[k][0], every[k][3], every[k][2]) for k in others)
    )


def test_records_are_those_of_the_tables(store, explanation):
    """At a fixed step: residuals of ranks after each step's mean, by scipy alone."""
    frame = StoreEvidence(store).steps
    complete = frame.drop_nulls(["state_gap", "forgetting"])
    x, y = (stats.rankdata(complete[name].to_numpy()) for name in ("state_gap", "forgetting"))
    steps = complete["step"].to_numpy()
    x, y = (v - np.array([v[steps == t].mean() for t in steps]) for v in (x, y))
    track = explanation.line("state_gap").track
    assert track.rho == pytest.approx(stats.pearsonr(x, y).statistic)
    assert track.pooled == pytest.approx(stats.spearmanr(complete["state_gap"], complete["forgetting"]).statistic)
    assert (track.n, track.runs) == (complete.height, 7)
    assert track.low < track.rho < track.high


def test_health(explanation, raw):
    rows = [r for r in raw.rows["updates"] if (r["run"], r["step"]) == (RUN, STEP)]
    assert explanation.line("health:energy_kept").value == pytest.approx(mean(r["energy_kept"] for r in rows))
    assert explanation.line("health:floor_share").value == mean(r["norm"] <= r["rounding_floor"] for r in rows)
    assert explanation.line("health:zero_updates").value == mean(r["norm"] == 0 for r in rows)
