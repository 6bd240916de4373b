"""The verdict names what was planted."""

import pytest
from safetensors.torch import load_file, save_file

from geodiag.explain import explain_step
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.store import StoreReader
from tests import synthetic
from tests.jobs.extracting import extract_all

from .conftest import CAUSES, SEEDS, plan

NAMES = {"none": "unexplained"}


def expected_subject(case):
    return {"family": case.family, "not learnt": case.tasks[case.step - 1], "block": "1"}.get(
        case.cause, case.tasks[case.old_step - 1] if case.cause == "repeat" else None
    )


@pytest.mark.parametrize("cause", CAUSES)
def test_nine_of_ten_planted_causes_are_named(cases, cause):
    missed = []
    for seed in SEEDS:
        case = plan(cause, seed)
        verdict = explain_step(cases.store, case.name, case.step, evidence=cases).verdict
        subject = expected_subject(case)
        if verdict.cause != NAMES.get(cause, cause) or (subject is not None and verdict.subjects[0] != subject):
            missed.append(verdict)
    assert len(missed) <= 1, missed


def test_steps_that_were_left_alone_are_seldom_given_a_cause(cases):
    """All steps of the untouched runs, not only those that were picked."""
    names = [plan("none", seed).name for seed in SEEDS]
    causes = [
        explain_step(cases.store, name, step, evidence=cases).verdict.cause for name in names for step in range(2, 9)
    ]
    named = [cause for cause in causes if cause not in ("unexplained", "ordinary")]
    assert len(named) <= len(causes) / 10


def test_a_family_scaled_in_a_real_checkpoint_is_named(tmp_path):
    """Weights on disk, extracted: one state's up_proj moves three times as far as the training took it."""
    folder = synthetic.write_run(tmp_path / "run", steps=7, blocks=2, seed=3)
    scale_family(folder, step=5, family="up_proj", factor=3.0)
    extract_all(folder, tmp_path / "store", make_settings(None), device="cpu")
    verdict = explain_step(StoreReader(tmp_path / "store"), "run", 5).verdict
    assert (verdict.cause, verdict.subjects) == ("family", ("up_proj",))


def scale_family(folder, *, step, family, factor):
    """Moves a family of one state further from the state before; later states keep what they gained on it."""
    states = [folder / "states" / f"s{t}" / "model.safetensors" for t in range(step - 1, 8)]
    before, changed = (load_file(path) for path in states[:2])
    shift = {name: (factor - 1) * (changed[name] - before[name]) for name in changed if family in name}
    for path in states[1:]:
        weights = load_file(path)
        save_file({name: value + shift.get(name, 0) for name, value in weights.items()}, path)
