"""A run whose checkpoints lie elsewhere gives the rows of the same run on a local disk."""

from __future__ import annotations

import fsspec
import pytest
import yaml

from geodiag.errors import CheckpointError, SettingsError
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.jobs import check_all
from geodiag.store import StoreReader
from tests import synthetic
from tests.jobs.extracting import extract_all, plan_all


@pytest.fixture
def memory():
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


def upload(fs, run):
    """Moves a run's checkpoints into memory, and its manifest's paths with them."""
    manifest = yaml.safe_load((run / "run.yaml").read_text())
    for place in (manifest, *manifest["steps"]):
        for key in {"base", "state", "expert"} & set(place):
            for file in (run / place[key]).iterdir():
                fs.pipe_file(f"/{run.name}/{place[key]}/{file.name}", file.read_bytes())
            place[key] = f"memory://{run.name}/{place[key]}"
    (run / "run.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))


def rows(store, table):
    frame = StoreReader(store).scan(table).collect()
    return frame.sort(frame.columns[:6])


def planned(run):
    """What a dry run says of the work, whatever it measures of this machine."""
    (line,) = [line for line in plan_all(run, make_settings()) if line.startswith("run a:")]
    return line


def test_remote_and_buffered_runs_have_the_rows_of_the_local_one(tmp_path, memory):
    run = synthetic.write_run(tmp_path / "runs" / "a", run="a", steps=2)
    settings = make_settings()
    extract_all(run, tmp_path / "local", settings, device="cpu", strict=True)
    extract_all(run, tmp_path / "buffered", settings, device="cpu", strict=True, reading="buffered")
    plan = planned(run)
    upload(memory, run)
    assert "2 steps; 7 layers" in check_all(run).outcomes[0].detail
    assert planned(run) == plan
    extract_all(run, tmp_path / "remote", settings, device="cpu", strict=True)
    again = extract_all(run, tmp_path / "remote", settings, device="cpu", strict=True)
    assert again.outcomes[0].status == "unchanged"
    for table in ("updates", "pairs", "layers"):
        local = rows(tmp_path / "local", table)
        assert rows(tmp_path / "remote", table).equals(local)
        assert rows(tmp_path / "buffered", table).equals(local)


def test_a_remote_checkpoint_that_is_not_there_names_run_and_step(tmp_path, memory):
    run = synthetic.write_run(tmp_path / "a", run="a", steps=2)
    upload(memory, run)
    memory.rm("/a/states/s2", recursive=True)
    with pytest.raises(CheckpointError) as caught:
        extract_all(run, tmp_path / "store", make_settings(), device="cpu", strict=True)
    assert str(caught.value) == "memory://a/states/s2: run a, step 2: no such file or folder; check the path"


def test_an_unknown_way_of_reading(tmp_path):
    run = synthetic.write_run(tmp_path / "a", run="a", steps=1)
    with pytest.raises(SettingsError) as caught:
        extract_all(run, tmp_path / "store", make_settings(), device="cpu", strict=True, reading="fast")
    assert str(caught.value) == "--read: run a: reading is 'fast'; one of mmap, buffered"
