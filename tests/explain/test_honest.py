"""What is not known is said, and nothing more is claimed."""

import pytest

from geodiag.errors import SettingsError, StoreError
from geodiag.explain import StoreEvidence, explain_step
from geodiag.store import StoreReader

from . import planted
from .planted import Plan


@pytest.fixture
def explained(tmp_path):
    """Explains a step of planned runs, the first by default."""

    def explain(*plans, step=5):
        planted.write(tmp_path / "store", list(plans))
        return explain_step(StoreReader(tmp_path / "store"), plans[0].name, step)

    return explain


def test_the_first_step_had_nothing_to_forget(explained):
    found = explained(Plan("r", 0), step=1)
    assert found.verdict.outcome == "first step"
    assert "nothing to lose" in found.section("lost").lead
    assert found.line("active_conflict") is None
    assert any("At step 1 there is no pair" in note for note in found.section("step").notes)


def test_without_scores_no_loss_is_claimed(explained):
    found = explained(Plan("r", 0, "family", scores=False))
    assert found.verdict.outcome == "not scored"
    assert (found.verdict.cause, found.verdict.confidence) == ("family", "none")
    assert "not known" in found.section("lost").lead
    assert "cost" not in found.verdict.text
    assert any("Score every step" in advice.action for advice in found.advice)


def test_without_gradients_that_is_said(explained):
    found = explained(Plan("r", 0))
    assert found.line("mean_grad_cos") is None
    assert "Gradients were not measured here, so nothing is said of them." in found.section("step").notes


def test_with_two_runs_no_record_is_claimed(explained):
    found = explained(Plan("r", 0, "family"), Plan("s", 1))
    text = found.to_text()
    assert "the store has 2 runs, and 6 are the least" in text
    assert "cannot be known" in found.verdict.text
    assert found.verdict.confidence == "low"
    assert " evidence in this store" not in text


def test_anchor_memory(explained):
    found = explained(Plan("r", 0, memory="anchor"))
    assert any("previous state and the new task" in note for note in found.section("step").notes)
    assert "none was active with it" in found.section("whom").lead
    assert "were not active together" in found.line("pair:add").text
    assert found.verdict.cause == "unexplained"


def test_a_window_of_tasks(explained):
    found = explained(Plan("r", 0, memory=2), step=6)
    assert "times 2/(2 + 1)" in found.line("global_gap").text
    assert "were not active together" in found.line("pair:add").text
    assert "GC" in found.line("pair:sort").text


def test_noise_that_is_not_known(explained):
    found = explained(Plan("r", 0, items=None))
    line = found.section("lost").lines[1]
    assert "its noise is not known" in line.text
    assert (line.numbers["drop_low"], line.numbers["drop_high"]) == (None, None)


def test_losses_within_noise_are_called_noise(explained):
    found = explained(Plan("r", 0, loss=0.02, items=40))
    assert found.verdict.outcome == "within noise"
    assert found.verdict.cause == "ordinary"
    assert not any(line.warn for line in found.section("lost").lines)
    assert any(note.startswith("Called noise, not loss: ") for note in found.section("lost").notes)


def test_a_step_that_changed_nothing(explained):
    found = explained(Plan("r", 2, "no change"))
    assert found.verdict.cause == "no change"
    assert found.section("where").lead == "Nowhere: the step changed no weight that was compared."


def test_weights_that_did_not_change_cost_nothing(tmp_path):
    tables = planted.tables(Plan("r", 2, "no change"))
    state = {"step": 5, "task": "modulo", "score": 0.0, "n": 128}
    scores = tables["scores"].filter((tables["scores"]["step"] != 5) | (tables["scores"]["task"] != "modulo"))
    tables["scores"] = scores.vstack(planted.frame("scores", [state]))
    planted.write_run(tmp_path / "store", "r", tables)
    found = explain_step(StoreReader(tmp_path / "store"), "r", 5)
    assert (found.verdict.outcome, found.verdict.confidence) == ("lost", "high")
    assert "weights that did not change cost nothing" in found.verdict.text
    assert found.advice[0].action.startswith("Score this step's and the previous checkpoint again")
    assert not any("Replay" in advice.action for advice in found.advice)


def test_numbers_that_mean_little_are_named(tmp_path):
    tables = planted.tables(Plan("r", 0))
    updates, pairs = tables["updates"], tables["pairs"]
    tables["updates"] = updates.with_columns(rounding_floor=updates["norm"] * 2, energy_kept=updates["norm"] * 0 + 0.5)
    tables["pairs"] = pairs.with_columns(lambda_share=pairs["conflict"] * 0 + 0.05)
    planted.write_run(tmp_path / "store", "r", tables)
    found = explain_step(StoreReader(tmp_path / "store"), "r", 5)
    bad = {line.name for line in found.section("health").lines}
    assert bad == {"health:floor_share", "health:energy_kept", "health:lambda_share_mean", "health:lambda_share_max"}
    assert {"Store checkpoints in a wider type, such as float32", "Extract again with a smaller --lambda"} <= {
        advice.action for advice in found.advice
    }


def test_a_short_run_has_no_robust_z(explained):
    found = explained(Plan("r", 0, steps=3), step=3)
    assert found.line("update_norm").place.z is None
    assert "With 2 other steps no robust z is given; it needs 4." in found.section("step").notes
    assert found.verdict.cause == "unexplained"


def test_what_is_asked_for_must_be_there(tmp_path):
    planted.write(tmp_path / "store", [Plan("r", 0)])
    store = StoreReader(tmp_path / "store")
    with pytest.raises(StoreError, match=r"run x: the run is not in the store; one of: r"):
        explain_step(store, "x", 1)
    with pytest.raises(SettingsError, match=r"run r, step 9: there is no such step; one of 1 to 8"):
        explain_step(store, "r", 9)
    planted.write(tmp_path / "other", [Plan("r", 0)])
    with pytest.raises(SettingsError, match="evidence of another store"):
        explain_step(store, "r", 2, evidence=StoreEvidence(StoreReader(tmp_path / "other")))
