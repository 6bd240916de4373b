"""Shares of a squared norm and the split of the state conflict, against calculations by hand."""

from math import log

import polars as pl
import pytest

from geodiag.signals.shares import StateConflictChange, StepShares, log_odds, norm_shares, share_series


def energies(rows):
    columns = ("run", "step", "source", "layer", "block", "family", "energy")
    schema = dict.fromkeys(columns, pl.String) | {"step": pl.Int64, "block": pl.Int64, "energy": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


ROWS = [
    ("r", 1, "step", "a", 0, "q_proj", 1.0),
    ("r", 1, "step", "b", 0, "up_proj", 2.0),
    ("r", 1, "step", "c", 1, "q_proj", 5.0),
    ("r", 1, "task", "a", 0, "q_proj", 7.0),
]


def test_shares_are_of_the_whole_squared_norm():
    norms = energies(ROWS)
    assert norm_shares(norms, "family", "step")["share"].to_list() == [6 / 8, 2 / 8]
    assert norm_shares(norms, "block", "step")["share"].to_list() == [3 / 8, 5 / 8]
    assert norm_shares(norms, "layer", "task")["share"].to_list() == [1.0]
    assert share_series(norm_shares(norms, "block", "step"), "block") == {"r": {0: {1: 3 / 8}, 1: {1: 5 / 8}}}


@pytest.mark.parametrize("energy", [0.0, None])
def test_a_step_without_a_squared_norm_has_no_shares(energy):
    others = [(*row[:6], 0.0 if energy == 0 else row[6]) for row in ROWS[:2]]
    assert norm_shares(energies([*others, (*ROWS[2][:6], energy)]), "family", "step").is_empty()


def test_log_odds_are_finite_at_the_ends():
    assert log_odds(0.75) == pytest.approx(log(3))
    assert log_odds(0.0) == pytest.approx(-log_odds(1.0))


def test_usual_share_and_odds_ratio_are_over_the_other_steps():
    parts = {"x": {1: 0.2, 2: 0.5, 3: 0.8, 4: 0.6}, "y": {1: 0.8, 2: 0.5, 3: 0.2}}
    shares = StepShares(parts, 4, least_others=3)
    assert shares.share("x") == 0.6
    assert shares.share("y") is None
    assert shares.usual("x") == 0.5
    # The median odds of the others are 1.
    assert shares.odds_ratio("x") == pytest.approx(0.6 / 0.4)
    assert shares.odds_ratio("y") is None
    assert shares.series("y", [2, 4]) == (0.5, None)
    few = StepShares(parts, 4, least_others=4)
    assert few.usual("x") is None
    assert few.odds_ratio("x") is None


def test_thirds_of_the_depth():
    shares = StepShares({block: {1: block / 15} for block in range(6)}, 1, least_others=4)
    assert shares.thirds() == pytest.approx((1 / 15, 5 / 15, 9 / 15))


def conflict(step, family, task, total, n=2):
    return {"step": step, "layer": family, "block": 0, "family": family, "object_j": task, "total": total, "n": n}


def test_parts_of_the_change_of_state_conflict_add_up():
    rows = [
        conflict(1, "q_proj", "task:a", 0.2),
        conflict(1, "up_proj", "task:a", 0.6),
        conflict(2, "q_proj", "task:a", 0.4),
        conflict(2, "up_proj", "task:a", 0.8),
        conflict(2, "q_proj", "task:b", 1.0),
        conflict(2, "up_proj", "task:b", 1.2),
    ]
    change = StateConflictChange.of(rows, 2)
    # Means over all conflicts: 3.4 / 8 at the step, 0.8 / 4 before it; over task a alone: 1.2 / 4.
    assert change.change == pytest.approx(3.4 / 8 - 0.8 / 4)
    assert change.at_same_tasks == pytest.approx(1.2 / 4 - 0.8 / 4)
    assert change.parts["family"] == pytest.approx({"q_proj": 1.4 / 8 - 0.2 / 4, "up_proj": 2.0 / 8 - 0.6 / 4})
    for parts in change.parts.values():
        assert sum(parts.values()) == pytest.approx(change.change)


def test_a_change_needs_conflicts_at_both_steps():
    rows = [conflict(1, "q_proj", "task:a", 0.0, n=0), conflict(2, "q_proj", "task:b", 0.4)]
    assert StateConflictChange.of(rows, 2) is None
    assert StateConflictChange.of([], 2) is None
    apart = StateConflictChange.of([conflict(1, "q_proj", "task:a", 0.2), *rows[1:]], 2)
    assert apart.at_same_tasks is None
