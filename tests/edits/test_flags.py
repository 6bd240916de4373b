"""Flags of a step and the choice of edits, on scores made up so that the right answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geodiag.explain.step_flags import JudgedEdit, step_flags
from geodiag.extraction.measurements.edits.catalogue import Edit
from geodiag.extraction.measurements.edits.choosing import Candidate, choose, edit_sizes
from geodiag.extraction.measurements.edits.judging import StepScores, TaskScores, judge, side_losses

N = 32


def task(p, *, seed=0, spread=0.03):
    """Examples whose mean target probability is p; exact where it is over a half."""
    g = np.random.default_rng(seed)
    values = np.clip(p + spread * g.standard_normal(N), 0.01, 0.99)
    return TaskScores(-np.log(values), values, (values > 0.5).astype(float))


BEFORE = {"old": task(0.9), "new": task(0.1, seed=1), "other": task(0.6, seed=2, spread=0.01)}
AFTER = {"old": task(0.2, seed=3), "new": task(0.9, seed=4), "other": task(0.6, seed=5, spread=0.01)}
STEP = StepScores(BEFORE, AFTER, ("old",), "new")


def scores(restored, kept, *, other=0.6, seed=9):
    old, new = 0.2 + restored * 0.7, 0.1 + kept * 0.8
    return {"old": task(old, seed=seed), "new": task(new, seed=seed + 1), "other": task(other, seed=seed, spread=0.01)}


def edit(kind, restored, kept, **more):
    given = {"groups": ("a",), "factor": None, "share_of_matrices": 0.2, "squared_share": 0.2}
    return JudgedEdit(f"{kind} edit", kind, scores=scores(restored, kept), **(given | more))


def randoms(mean, count=19):
    return tuple(scores(mean, 1.0, seed=100 + n) for n in range(count))


LOCATED = edit("top", 0.8, 1.0, controls=randoms(0.2), complement=scores(0.3, 0.4))
LONG = edit("scale", 0.8, 1.0, groups=(), factor=0.5, share_of_matrices=1.0, squared_share=1.0)
SHARED = edit("project", 0.8, 1.0, groups=(), controls=randoms(0.1, 2))
FAILS = edit("scale", 0.2, 0.99, groups=(), factor=0.75)


def flags(*edits, step=STEP):
    return step_flags(edits, step).flags


def test_each_cause_by_its_rule_and_the_headline_in_order():
    assert flags(LOCATED) == ("located",)
    assert flags(LONG) == ("step too long",)
    assert flags(SHARED) == ("shared directions",)
    assert flags(FAILS, LONG, SHARED, LOCATED) == ("located", "shared directions", "step too long")


@pytest.mark.parametrize(
    "wrong",
    [
        {"share_of_matrices": 0.3},
        {"squared_share": 0.4},
        {"controls": randoms(0.8)},
        {"controls": (*randoms(0.2, 18), scores(0.95, 1.0))},
        {"complement": scores(0.9, 0.5)},
        {"complement": None},
        {"controls": ()},
        {"scores": scores(0.45, 1.0)},
        {"scores": scores(0.8, 0.85)},
    ],
)
def test_a_location_needs_all_of_its_rule(wrong):
    assert "located" not in flags(replace(LOCATED, **wrong))


def test_a_scale_under_a_half_or_of_some_groups_is_no_step_too_long():
    assert "step too long" not in flags(replace(LONG, factor=0.25))
    assert "step too long" not in flags(replace(LONG, groups=("a", "b")))


def test_when_every_edit_fails_it_is_a_trade_off():
    assert flags(FAILS, edit("top", 0.9, 0.3)) == ("trade-off",)
    assert flags(FAILS, edit("top", 0.5, 0.9)) == ("undecided",)


def test_undecided_names_the_examples_that_would_decide():
    close = replace(LONG, scores={**scores(0.8, 1.0), "old": task(0.2 + 0.55 * 0.7, seed=3, spread=0.3)})
    found = step_flags([close], STEP)
    assert found.flags == ("undecided",)
    assert N < found.examples_needed < 5000
    wider = [np.tile(np.array(getattr(close.scores["old"], name)), 40) for name in ("loss", "p", "exact")]
    assert len(wider[0]) > found.examples_needed

    def more(scores_):
        return {n: TaskScores(*(np.tile(x, 40) for x in (s.loss, s.p, s.exact))) for n, s in scores_.items()}

    step = StepScores(more(BEFORE), more(AFTER), ("old",), "new")
    assert step_flags([replace(close, scores=more(close.scores))], step).flags == ("step too long",)


def test_a_task_that_was_not_learnt_names_no_cause():
    step = replace(STEP, after={**AFTER, "new": task(0.1, seed=8)})
    found = step_flags([LOCATED, LONG], step)
    assert found.flags == ("not learnt",)
    assert found.verdicts[0].judgement.kept is None
    assert step_flags([LOCATED], replace(STEP, new=None)).flags == ("not learnt",)


def test_a_step_that_lost_nothing_has_no_flag_and_one_that_probes_deny_says_so():
    assert flags(LONG, step=replace(STEP, lost=())) == ()
    assert flags(LONG, step=replace(STEP, lost=("other",))) == ("probes do not show it",)


def test_what_loses_another_task_is_never_advised():
    harmful = replace(LONG, scores=scores(0.95, 1.0, other=0.3))
    found = step_flags([harmful, edit("scale", 0.6, 1.0, groups=(), factor=0.75)], STEP)
    assert found.verdicts[0].judgement.side_losses == ("other",)
    assert found.best.edit.factor == 0.75
    assert side_losses(scores(0.5, 1.0), STEP) == ()


def test_exact_answers_decide_where_three_were_lost():
    own = scores(0.8, 1.0)
    wrong = TaskScores(own["old"].loss, own["old"].p, np.zeros(N))
    found = judge({**own, "old": wrong}, STEP, level=0.95)
    assert (found.restored_exact, found.restores.is_above, found.restores_half) == (0.0, True, False)


def test_two_lost_tasks_count_together_and_the_worst_alone():
    before, after = {**BEFORE, "late": task(0.8, seed=20)}, {**AFTER, "late": task(0.4, seed=21)}
    step = StepScores(before, after, ("old", "late"), "new")
    one = {**scores(0.9, 1.0), "late": task(0.4, seed=22)}  # 0.63 of 1.1 comes back
    found = judge(one, step, level=0.95)
    assert found.restored.estimate == pytest.approx(0.63 / 1.1, abs=0.02)
    only = replace(LONG, scores=one, chosen_for=("old",))
    (verdict,) = step_flags([only], step).verdicts
    assert verdict.judgement.restored.estimate == pytest.approx(0.9, abs=0.03)


def candidate(name, kind, restored, kept, *, groups=("a",), factor=0.0, share=0.2):
    return Candidate(Edit(name, kind, groups, factor), share, share, scores(restored, kept))


def test_one_edit_a_class_is_taken_with_a_margin():
    given = [
        candidate("s25", "scale", 0.9, 0.97, groups=(), factor=0.25),
        candidate("s50", "scale", 0.7, 0.98, groups=(), factor=0.5),
        candidate("s75", "scale", 0.95, 0.92, groups=(), factor=0.75),
        candidate("half", "scale", 0.6, 0.99, factor=0.5),
        candidate("large", "top", 0.95, 1.0, share=0.5),
        candidate("small", "top", 0.8, 1.0),
        candidate("edge", "family", 0.99, 0.93),
        candidate("luck", "random", 1.0, 1.0),
        candidate("p", "project", 0.1, 1.0, groups=()),
    ]
    taken = choose(given, STEP, learnt=True)
    names = {kind: one.edit.name for kind, one in taken.items()}
    assert names == {"scale": "s50", "part": "half", "set": "small", "project": "p"}
    assert choose(given, STEP, learnt=False)["set"].edit.name == "edge"
    short = [candidate("a", "top", 0.4, 1.0), candidate("b", "top", 0.48, 0.99), candidate("c", "top", 0.9, 0.5)]
    assert choose(short, STEP, learnt=True)["set"].edit.name == "b"


def test_sizes_are_shares_of_matrices_and_of_the_squared_step():
    squared = {"a": 1.0, "b": 2.0, "norm": 1.0}
    assert edit_sizes(Edit("e", "top", ("b", "norm")), squared, ["a", "b"]) == (0.5, 0.75)
    assert edit_sizes(Edit("e", "scale", (), 0.5), squared, ["a", "b"]) == (1.0, 1.0)
