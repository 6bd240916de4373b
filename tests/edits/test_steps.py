"""Which steps are edited and what they lost, by hand-made tables."""

from __future__ import annotations

import polars as pl
import pytest
from scipy import stats

from geodiag.extraction.measurements.edits.stages import slots
from geodiag.extraction.measurements.edits.steps import edit_steps, task_changes, tasks_to_lose

NO_SCORES = pl.DataFrame(
    schema={"step": pl.Int32, "task": pl.String, "score": pl.Float64, "stderr": pl.Float64, "n": pl.Int64}
)


def loss(step, task, p, delta=None, se=0.1, n=16, floor=0.0):
    names = ("step", "task", "p_target", "delta_loss", "delta_loss_se", "n_examples", "precision_floor")
    return dict(zip(names, (step, task, p, delta, se, n, floor), strict=True))


def losses(*rows):
    return pl.DataFrame(list(rows), schema_overrides={"delta_loss": pl.Float64})


def score(step, task, value, n=100):
    return {"step": step, "task": task, "score": value, "stderr": None, "n": n}


def lost(rows, scores=NO_SCORES, tasks=("a",)):
    return [c.task for c in task_changes(1, tasks, losses=rows, scores=scores).values() if c.is_lost]


def test_a_task_can_be_lost_once_it_was_trained_or_is_never():
    assert tasks_to_lose(("a", "b", "a", "c"), ["a", "b", "c", "skill"], 2) == ("a", "skill")
    assert tasks_to_lose(("a", "b", "a", "c"), ["a", "b", "c", "skill"], 3) == ("b", "skill")


def test_by_probes_the_lower_bound_of_the_rise_is_above_0_and_the_precision_and_p_fell():
    q = stats.t.ppf(0.975, 15)
    just, under = 0.1 * q + 1e-6, 0.1 * q - 1e-6
    assert lost(losses(loss(0, "a", 0.5), loss(1, "a", 0.4, just))) == ["a"]
    assert lost(losses(loss(0, "a", 0.5), loss(1, "a", 0.4, under))) == []
    assert lost(losses(loss(0, "a", 0.5), loss(1, "a", 0.4, just, floor=0.01))) == []
    assert lost(losses(loss(0, "a", 0.5), loss(1, "a", 0.481, just))) == []
    two = losses(loss(0, "a", 0.5), loss(1, "a", 0.4, just), loss(0, "b", 0.5), loss(1, "b", 0.5, 0.0))
    assert lost(two, tasks=("a", "b")) == []  # two tasks: the bound is wider


def test_scores_decide_where_their_noise_is_known():
    rows = losses(loss(0, "a", 0.5), loss(1, "a", 0.3, 1.0))
    assert lost(rows, pl.DataFrame([score(0, "a", 0.9), score(1, "a", 0.88)])) == []
    assert lost(rows, pl.DataFrame([score(0, "a", 0.9), score(1, "a", 0.2)])) == ["a"]
    unknown = pl.DataFrame([score(0, "a", 0.9, None), score(1, "a", 0.88, None)], schema=NO_SCORES.schema)
    assert lost(rows, unknown) == ["a"]


def allocation(task, values, step=2):
    groups = [(f"model.layers.{n}.self_attn.q_proj", n, "q_proj") for n in range(len(values))]
    return [
        {
            "step": step, "task": task, "group": group, "block": block, "family": family,
            "allocation_choosing": value, "squared_share": 1 / len(values),
        }
        for (group, block, family), value in zip(groups, values, strict=True)
    ]  # fmt: skip


TABLES = {
    "losses": losses(
        *(loss(1, task, 0.9) for task in ("a", "b", "skill")),
        loss(2, "a", 0.2, 2.0), loss(2, "b", 0.95, -1.0), loss(2, "skill", 0.5, 0.9),
        loss(3, "a", 0.2, 0.0), loss(3, "b", 0.95, 0.0), loss(3, "skill", 0.5, 0.0),
    ),
    "scores": NO_SCORES,
    "attribution": pl.DataFrame(
        allocation("a", [3.0, 1.0, 0.0, -2.0])
        + allocation("b", [-4.0, 0.0, 0.0, 0.0])
        + allocation("skill", [0.0, 0.0, 2.0, 0.0])
    ),
}  # fmt: skip


def steps(**keys):
    given = {"probed": ["a", "b", "skill"], "tables": TABLES, "every_step": False, "experts": False} | keys
    return list(edit_steps("run", ("a", "b", "c"), **given))


def test_only_steps_that_lost_a_task_are_edited_the_worst_first():
    (step,) = steps()
    assert (step.step, step.lost, step.side, step.new) == (2, ("a", "skill"), (), "b")
    assert step.fall == pytest.approx(0.7)
    tops = {edit.name: edit.groups for edit in (*step.edits, *step.own_edits)}
    # harm .375, .125, .5, 0 less benefit 1, 0, 0, 0
    assert [name[13] for name in tops["revert top 25%"]] == ["2"]
    assert [name[13] for name in tops["revert 25% by harm"]] == ["2"]
    # of a alone: .75 - 1, .25, 0, 0
    assert [name[13] for name in tops["revert top 25% for a"]] == ["1"]
    names = slots(step)
    assert names[:2] == ["before", "after"]
    assert sum(name.startswith("judging: own random") for name in names) == 19
    assert "choosing: transplant" not in names
    assert "choosing: project" in names


def test_every_step_takes_the_task_that_fell_most():
    given = {
        **TABLES,
        "attribution": pl.concat([TABLES["attribution"], pl.DataFrame(allocation("a", [1.0] * 4, step=3))]),
    }
    found = steps(tables=given, every_step=True)
    assert [(step.step, step.lost) for step in found] == [(2, ("a", "skill")), (3, ("a",))]


def test_a_task_that_was_not_learnt_has_no_benefit():
    rows = TABLES["losses"].with_columns(
        delta_loss=pl.when((pl.col("task") == "b") & (pl.col("step") == 2)).then(-0.1).otherwise(pl.col("delta_loss"))
    )
    (step,) = steps(tables={**TABLES, "losses": rows}, probed=["a", "b"])
    (top,) = [edit for edit in step.edits if edit.name == "revert top 25%"]
    assert top.groups == ("model.layers.0.self_attn.q_proj",)
