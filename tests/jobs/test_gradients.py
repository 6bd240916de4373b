"""Gradients in a batch: with the geometry, onto a stored run, again, and after a kill."""

from __future__ import annotations

import polars as pl
import pytest

from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.extraction.measurements.gradients.settings import GradientOptions
from geodiag.jobs import Silent
from geodiag.store import StoreReader
from tests.extraction.gradient_runs import PROBES, write_probes, write_run
from tests.jobs.extracting import extract_all, plan_all
from tests.jobs.test_batch import as_after

SETTINGS, OPTIONS = make_settings(rank=4), GradientOptions(probes_per_task=3)


def batch(folder, store, **options):
    return extract_all(folder, store, SETTINGS, device="cpu", **options)


class Stops(Silent):
    """Ends the process, as it seems, when the first step's gradients are on disk."""

    def part_done(self, run, part):
        if part.startswith("step"):
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gradients") / "run"
    write_run(folder)
    return folder


def rows(store):
    return StoreReader(store).scan("gradients").collect().sort("step", "layer", "task_i", "task_j")


def test_with_the_geometry_and_onto_a_stored_run_alike(run, tmp_path):
    together = batch(run, tmp_path / "a", gradients=OPTIONS)
    assert together.outcomes[0].detail == "extracted 14 layers, gradients at 2 steps"
    batch(run, tmp_path / "b")
    assert not StoreReader(tmp_path / "b").has("gradients")
    later = batch(run, tmp_path / "b", gradients=OPTIONS, geometry=False)
    assert later.outcomes[0].detail == "gradients at 2 steps"
    assert rows(tmp_path / "a").equals(rows(tmp_path / "b"))
    assert rows(tmp_path / "a").height == 14 * (1 + 3)  # pairs of two tasks, then of three
    again = batch(run, tmp_path / "b", gradients=OPTIONS, geometry=False)
    assert [(o.status, o.detail) for o in again.outcomes] == [("unchanged", "gradients unchanged")]


def test_other_probes_need_overwrite(tmp_path):
    folder = tmp_path / "run"
    write_run(folder)
    batch(folder, tmp_path / "s", gradients=OPTIONS)
    write_probes(folder / "probes.jsonl", [(task, f"Now: {prompt}", target) for task, prompt, target in PROBES])
    refused = batch(folder, tmp_path / "s", gradients=OPTIONS)
    assert "gradients of other probes or options; pass --overwrite" in refused.failed[0].detail
    before = rows(tmp_path / "s")
    assert batch(folder, tmp_path / "s", gradients=OPTIONS, geometry=False, overwrite=True).exit_code == 0
    assert not rows(tmp_path / "s").equals(before)


def test_added_steps_add_their_gradients_and_leave_the_others(tmp_path):
    folder = tmp_path / "run"
    write_run(folder)
    with as_after(folder, 2):
        batch(folder, tmp_path / "s", gradients=OPTIONS, strict=True)
    before = rows(tmp_path / "s")
    (outcome,) = batch(folder, tmp_path / "s", gradients=OPTIONS, strict=True).outcomes
    assert outcome.detail == "extracted 14 layers of 1 step added to 2, gradients at 1 step"
    batch(folder, tmp_path / "whole", gradients=OPTIONS, strict=True)
    assert rows(tmp_path / "s").equals(rows(tmp_path / "whole"))
    assert rows(tmp_path / "s").filter(pl.col("step") == 2).equals(before)


def test_interrupted_it_goes_on_and_gives_the_same(run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        batch(run, tmp_path / "s", gradients=OPTIONS, progress=Stops())
    assert not StoreReader(tmp_path / "s").has("gradients")
    assert batch(run, tmp_path / "s", gradients=OPTIONS).exit_code == 0
    batch(run, tmp_path / "whole", gradients=OPTIONS)
    assert rows(tmp_path / "s").equals(rows(tmp_path / "whole"))


def test_gradients_only_need_a_stored_run(run, tmp_path):
    batch(run, tmp_path / "s")
    (tmp_path / "other").mkdir()
    write_run(tmp_path / "other" / "run", run="other")
    report = batch(tmp_path / "other", tmp_path / "s", gradients=OPTIONS, geometry=False)
    assert "run other: the run is not in the store; extract it without --gradients-only" in report.failed[0].detail


def test_a_dry_run_says_the_passes_and_why(run):
    lines = list(plan_all(run, SETTINGS, gradients=OPTIONS, geometry=False, memory=120_000))
    assert any("passes: all layers at once take" in line for line in lines)
