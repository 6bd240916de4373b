"""Another method is named where it lost far less on the same step, and only there."""

from dataclasses import replace

import pytest

from geodiag.explain import explain_step
from geodiag.store import StoreReader

from . import planted
from .planted import TASKS, Plan

COSTLY = Plan("costly", 1, loss=0.4)
GENTLE = replace(COSTLY, name="gentle", seed=2, method="EWC", loss=0.02)


def suggested(tmp_path, *plans):
    """What is suggested for step 5 of the costly run, as far as it names a method."""
    planted.write(tmp_path / "store", list(plans))
    found = explain_step(StoreReader(tmp_path / "store"), "costly", 5)
    assert found.verdict.outcome == "lost"
    return [advice for advice in found.advice if advice.action.startswith("Train this step as")]


def test_the_gentlest_method_is_named_with_both_numbers(tmp_path):
    middle = replace(GENTLE, name="middle", seed=3, method="FOREVER", loss=0.1)
    (advice,) = suggested(tmp_path, COSTLY, middle, GENTLE)
    assert advice.action == "Train this step as EWC does"
    assert "run gentle, the least costly of 2 of this size" in advice.why
    pairs = StoreReader(tmp_path / "store").scan("scores").collect()
    scores = {
        (run, step, task): score for run, step, task, score in pairs.select("run", "step", "task", "score").rows()
    }
    for run in ("costly", "gentle"):
        drops = [scores[run, 5, task] - scores[run, 4, task] for task in TASKS[:4]]
        assert f"{sum(drops) / 4:+.3f}" in advice.why


@pytest.mark.parametrize(
    "change",
    [
        {"loss": 0.35},
        {"size": "large"},
        {"method": "Seq. SFT"},
        {"steps": 4},
        {"scores": False},
        {"tasks": TASKS[::-1]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_no_method_is_named_where_runs_cannot_be_compared(tmp_path, change):
    assert suggested(tmp_path, COSTLY, replace(GENTLE, **change)) == []


def test_another_order_of_the_same_tasks_will_do(tmp_path):
    order = (TASKS[1], TASKS[0], *TASKS[2:])
    (advice,) = suggested(tmp_path, COSTLY, replace(GENTLE, tasks=order))
    assert "run gentle" in advice.why
