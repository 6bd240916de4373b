"""A batch: each run whole or absent, repeated without harm, failing alone."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

from geodiag.errors import GeodiagError, StoreError
from geodiag.extraction.measurements.geometry import layer as layer_room
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.jobs import Silent, check_all
from geodiag.store import TABLES as SCHEMA
from geodiag.store import StoreReader
from tests import synthetic
from tests.jobs.extracting import extract_all

SETTINGS = make_settings(rank=4)
TABLES = ("layers", "updates", "pairs", "unions", "active", "scores")


def batch(runs, store, settings=SETTINGS, **options):
    return extract_all(runs, store, settings, device="cpu", **options)


def contents(store):
    """Every row of every table, in one order."""
    reader = StoreReader(store)
    return {name: reader.scan(name).collect().sort(pl.all().exclude(pl.List(pl.Float64))) for name in TABLES}


class Watch(Silent):
    """Counts layers, and stops after some of them as a kill would."""

    def __init__(self, stop_after=None):
        self.layers, self.notes, self.started, self.stop_after = [], [], [], stop_after

    def run_started(self, run, *, parts, done, what):
        self.started.append((run, parts, done))

    def part_done(self, run, part):
        self.layers.append(part)
        if len(self.layers) == self.stop_after:
            raise KeyboardInterrupt

    def note(self, text):
        self.notes.append(text)


def edit(folder, **changes):
    """Changes keys of a manifest."""
    config = yaml.safe_load((folder / "run.yaml").read_text()) | changes
    (folder / "run.yaml").write_text(yaml.safe_dump(config))


def test_again_does_nothing(tmp_path):
    folder = synthetic.write_run(tmp_path / "runs" / "a", steps=2)
    first = batch(folder, tmp_path / "store")
    watch = Watch()
    again = batch(folder, tmp_path / "store", progress=watch)
    assert [o.status for o in first.outcomes] == ["done"]
    assert [(o.status, o.detail) for o in again.outcomes] == [("unchanged", "unchanged")]
    assert watch.layers == []
    assert again.exit_code == 0


def test_a_run_moved_as_a_whole_is_the_same_run(tmp_path):
    folder = synthetic.write_run(tmp_path / "here", steps=2)
    batch(folder, tmp_path / "store")
    shutil.copytree(folder, tmp_path / "there", copy_function=shutil.copy2)
    assert batch(tmp_path / "there", tmp_path / "store").outcomes[0].status == "unchanged"


def test_other_settings_need_overwrite(tmp_path):
    folder = synthetic.write_run(tmp_path / "run", steps=2)
    batch(folder, tmp_path / "store")
    report = batch(folder, tmp_path / "store", make_settings(rank=3))
    assert report.exit_code == 2
    assert "run run: it was extracted with other settings (rank 4 -> 3); pass --overwrite" in report.failed[0].detail
    assert StoreReader(tmp_path / "store").config("run")["rank"] == 4
    assert batch(folder, tmp_path / "store", make_settings(rank=3), overwrite=True).exit_code == 0
    assert StoreReader(tmp_path / "store").config("run")["rank"] == 3


def test_other_weights_need_overwrite(tmp_path):
    folder = synthetic.write_run(tmp_path / "run", steps=2)
    batch(folder, tmp_path / "store")
    shutil.copy(folder / "experts/t1/model.safetensors", folder / "experts/t2/model.safetensors")
    report = batch(folder, tmp_path / "store")
    assert "other inputs (checkpoint experts/t2 has changed)" in report.failed[0].detail


def test_new_scores_need_no_new_geometry(tmp_path):
    folder = synthetic.write_run(tmp_path / "run", steps=2)
    batch(folder, tmp_path / "store")
    (folder / "scores.csv").write_text("step,task,score\n1,task 1,0.25\n2,task 1,0.5\n")
    watch = Watch()
    report = batch(folder, tmp_path / "store", progress=watch)
    assert report.outcomes[0].detail == "scores refreshed"
    assert watch.layers == []
    assert StoreReader(tmp_path / "store").scan("scores").collect()["score"].to_list() == [0.25, 0.5]
    assert watch.notes  # task 2 is never scored, and that is said


@contextmanager
def as_after(folder, steps):
    """A run as it was after so many steps."""
    whole, path = yaml.safe_load((folder / "run.yaml").read_text())["steps"], folder / "scores.csv"
    scores = path.read_text() if path.exists() else ""
    edit(folder, steps=whole[:steps])
    if scores:
        head, *lines = scores.splitlines()
        path.write_text("\n".join([head, *(line for line in lines if int(line.split(",")[0]) <= steps)]) + "\n")
    yield
    edit(folder, steps=whole)
    if scores:
        path.write_text(scores)


@pytest.mark.parametrize("updates", ["experts", "increments"])
def test_a_run_that_gained_steps_is_brought_up_to_date(tmp_path, monkeypatch, updates):
    folder = synthetic.write_run(tmp_path / "run", steps=4, updates=updates)
    measured = []
    original = layer_room.right_spectrum
    monkeypatch.setattr(
        layer_room, "right_spectrum", lambda D, *rest, **more: measured.append(len(D)) or original(D, *rest, **more)
    )
    with as_after(folder, 2):
        batch(folder, tmp_path / "store", strict=True)
    (outcome,) = batch(folder, tmp_path / "store", strict=True).outcomes
    assert outcome.detail == "extracted 7 layers of 2 steps added to 2"
    assert sum(measured) == 7 * 2 * 4  # a task's and a state's spectrum a step, none of them twice
    batch(folder, tmp_path / "fresh")
    for name, want in contents(tmp_path / "fresh").items():
        assert_close(contents(tmp_path / "store")[name], want, key=SCHEMA[name].key)
    assert batch(folder, tmp_path / "store").outcomes[0].status == "unchanged"


def assert_close(got, want, *, key):
    """The same rows, whatever their order; numbers but for the single precision of kept bases."""
    key = [column for column in key if column in want.columns]
    assert_frame_equal(got.sort(key), want.sort(key), rel_tol=1e-5, abs_tol=1e-9)


def test_without_the_kept_bases_it_gives_the_same(tmp_path):
    folder = synthetic.write_run(tmp_path / "run", steps=4)
    with as_after(folder, 2):
        batch(folder, tmp_path / "store", strict=True)
    (kept,) = (tmp_path / "store" / ".bases").iterdir()
    shutil.rmtree(kept)
    assert batch(folder, tmp_path / "store").outcomes[0].status == "done"
    batch(folder, tmp_path / "fresh")
    assert_close(contents(tmp_path / "store")["pairs"], contents(tmp_path / "fresh")["pairs"], key=SCHEMA["pairs"].key)
    (again,) = (tmp_path / "store" / ".bases").iterdir()  # of the run as it is now, and no other
    assert again.name != kept.name


def test_interrupted_it_goes_on_from_the_finished_layers(tmp_path):
    folder = synthetic.write_run(tmp_path / "run", steps=2)
    with pytest.raises(KeyboardInterrupt):
        batch(folder, tmp_path / "store", progress=Watch(stop_after=3))
    assert StoreReader(tmp_path / "store").run_ids() == []
    watch = Watch()
    batch(folder, tmp_path / "store", progress=watch)
    assert watch.started == [("run", 7, 3)]
    assert len(watch.layers) == 4
    batch(folder, tmp_path / "undisturbed")
    for name, frame in contents(tmp_path / "undisturbed").items():
        assert contents(tmp_path / "store")[name].equals(frame)
    assert not list((tmp_path / "store" / ".staging" / "parts").iterdir())


def test_layers_of_other_settings_are_not_taken_over(tmp_path):
    folder = synthetic.write_run(tmp_path / "run", steps=2)
    with pytest.raises(KeyboardInterrupt):
        batch(folder, tmp_path / "store", progress=Watch(stop_after=3))
    watch = Watch()
    batch(folder, tmp_path / "store", make_settings(rank=3), progress=watch)
    assert len(watch.layers) == 7


def test_a_failing_run_costs_only_itself(tmp_path):
    for name in ("a", "b", "c"):
        synthetic.write_run(tmp_path / "runs" / name, run=name, steps=2)
    (tmp_path / "runs" / "b" / "states" / "s2" / "model.safetensors").write_bytes(b"junk")
    report = batch(tmp_path / "runs", tmp_path / "store")
    assert [(o.run, o.status) for o in report.outcomes] == [("a", "done"), ("b", "failed"), ("c", "done")]
    assert report.exit_code == 1
    assert "run b, step 2" in report.failed[0].detail
    assert StoreReader(tmp_path / "store").run_ids() == ["a", "c"]
    with pytest.raises(GeodiagError, match="run b, step 2"):
        batch(tmp_path / "runs", tmp_path / "other", strict=True)


def test_two_runs_of_one_name_are_told_apart(tmp_path):
    synthetic.write_run(tmp_path / "runs" / "a", run="same", steps=2)
    synthetic.write_run(tmp_path / "runs" / "b", run="same", steps=2)
    report = batch(tmp_path / "runs", tmp_path / "store")
    assert [o.status for o in report.outcomes] == ["done", "failed"]
    assert "run id 'same' is taken by" in report.failed[0].detail


def test_a_weight_that_is_not_finite_is_named(tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    folder = synthetic.write_run(tmp_path / "run", steps=2)
    file = folder / "states" / "s1" / "model.safetensors"
    weights = load_file(file)
    weights["model.layers.0.mlp.up_proj.weight"][3, 5] = torch.nan
    save_file(weights, file)
    detail = batch(folder, tmp_path / "store").failed[0].detail
    assert "mlp.up_proj" in detail
    assert "states/s1" in detail
    assert StoreReader(tmp_path / "store").run_ids() == []


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    folder = synthetic.write_run(tmp_path / "run", steps=2)

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("geodiag.jobs.restart.Staging.put", full)
    report = batch(folder, tmp_path / "store")
    assert "cannot read or write: [Errno 28] No space left on device" in report.failed[0].detail
    assert isinstance(report.failed[0].error, StoreError)


def test_check_reads_no_weight_and_says_what_it_matched(tmp_path, monkeypatch):
    def never(*_args):
        raise AssertionError("a weight was read")

    monkeypatch.setattr("geodiag.checkpoints.Checkpoint.read_layer", never)
    folder = synthetic.write_run(tmp_path / "runs" / "a", steps=2)
    good = check_all(folder)
    assert good.exit_code == 0
    assert "2 steps; 7 layers in 1 block and 7 families\n  left out 2 tensors" in good.outcomes[0].detail
    synthetic.write_run(tmp_path / "runs" / "b", run="b", steps=2)
    edit(tmp_path / "runs" / "b", method="")
    both = check_all(tmp_path / "runs")
    assert both.exit_code == 1
    assert "'method' is empty" in both.failed[0].detail
