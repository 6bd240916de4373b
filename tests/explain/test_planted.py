"""The verdict names what was planted."""

import pytest

from geodiag.explain import explain_step

from .conftest import CAUSES, SEEDS, plan

NAMES = {"none": "unexplained"}


def expected_subject(case):
    return {"family": case.family, "not learnt": case.tasks[case.step - 1], "block": "1"}.get(
        case.cause, case.tasks[case.old_step - 1] if case.cause == "repeat" else None
    )


@pytest.mark.parametrize("cause", CAUSES)
def test_nine_of_ten_planted_causes_are_named(cases, cause):
    right = 0
    for seed in SEEDS:
        case = plan(cause, seed)
        verdict = explain_step(cases.store, case.name, case.step, evidence=cases).verdict
        subject = expected_subject(case)
        named = verdict.cause == NAMES.get(cause, cause) and (subject is None or verdict.subjects[0] == subject)
        right += named
        if not named:
            print(case, verdict)
    assert right >= 9


def test_steps_that_were_left_alone_are_seldom_given_a_cause(cases):
    """All steps of the untouched runs, not only those that were picked."""
    names = [plan("none", seed).name for seed in SEEDS]
    causes = [
        explain_step(cases.store, name, step, evidence=cases).verdict.cause for name in names for step in range(2, 9)
    ]
    named = [cause for cause in causes if cause not in ("unexplained", "ordinary")]
    assert len(named) <= len(causes) / 10
