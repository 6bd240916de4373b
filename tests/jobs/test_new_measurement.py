"""A new measurement is one folder and one entry of the list; everything else goes over the list."""

from __future__ import annotations

import subprocess
import sys

import pytest

from geodiag.extraction.measurements import MEASUREMENTS
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.jobs import Silent, Work, extract_all, parse_shard, plan_all
from geodiag.store import TABLES, StoreReader
from tests import synthetic
from tests.jobs.largest_entry import LargestEntry, LargestOptions


@pytest.fixture(autouse=True)
def _listed():
    MEASUREMENTS.append(LargestEntry())
    yield
    MEASUREMENTS.pop()


@pytest.fixture
def run(tmp_path):
    return synthetic.write_run(tmp_path / "runs" / "run", steps=2)


def work(store, *measured, **more):
    return Work(store=store, measured=measured or ("geometry", "largest"), device="cpu", **more)


def largest(store):
    return StoreReader(store).scan("largest").collect().sort("step", "layer")


def by_hand(run):
    base, *states = (synthetic.read_weights(run / name) for name in ("base", "states/s1", "states/s2"))
    names = sorted(name for name in base if ".layers." in name)
    return [(state[name] - base[name]).abs().max().item() for state in states for name in names]


def test_its_rows_enter_the_store_with_its_options(run, tmp_path):
    (outcome,) = extract_all(run, work(tmp_path / "s", strict=True)).outcomes
    assert outcome.detail == "extracted 7 layers, largest entries of 7 layers"
    assert largest(tmp_path / "s")["largest"].to_list() == pytest.approx(by_hand(run), rel=1e-12)
    assert StoreReader(tmp_path / "s").config("run")["largest"] == {"power": 1.0}
    assert "largest" in TABLES
    (again,) = extract_all(run, work(tmp_path / "s", strict=True)).outcomes
    assert (again.status, again.detail) == ("unchanged", "unchanged, largest unchanged")


def test_other_options_need_overwrite_and_replace_its_table_alone(run, tmp_path):
    extract_all(run, work(tmp_path / "s", strict=True))
    squared = {"largest": LargestOptions(power=2.0)}
    refused = extract_all(run, work(tmp_path / "s", "largest", settings=squared)).failed[0]
    assert "it has largest of other probes or options; pass --overwrite" in refused.detail
    pairs = (tmp_path / "s" / "pairs" / "run=run" / "part-0.parquet").read_bytes()
    extract_all(run, work(tmp_path / "s", "largest", settings=squared, overwrite=True, strict=True))
    assert largest(tmp_path / "s")["largest"].to_list() == pytest.approx([x**2 for x in by_hand(run)], rel=1e-12)
    assert (tmp_path / "s" / "pairs" / "run=run" / "part-0.parquet").read_bytes() == pairs


def test_overwriting_the_geometry_leaves_it(run, tmp_path):
    extract_all(run, work(tmp_path / "s", strict=True))
    before = largest(tmp_path / "s")
    given = {"geometry": make_settings(rank=2)}
    extract_all(run, work(tmp_path / "s", "geometry", settings=given, overwrite=True, strict=True))
    assert StoreReader(tmp_path / "s").config("run")["rank"] == 2
    assert largest(tmp_path / "s").equals(before)


def test_overwriting_the_geometry_of_other_checkpoints_takes_it_along(run, tmp_path):
    notes = []

    class Told(Silent):
        def note(self, text):
            notes.append(text)

    extract_all(run, work(tmp_path / "s", strict=True))
    other = synthetic.write_run(tmp_path / "other", steps=2, seed=1)
    (run / "states" / "s1" / "model.safetensors").write_bytes((other / "states/s1/model.safetensors").read_bytes())
    extract_all(run, work(tmp_path / "s", "geometry", overwrite=True, strict=True), progress=Told())
    assert not StoreReader(tmp_path / "s").has("largest")
    assert "run run: its largest were measured on other layers or checkpoints and go" in notes


def test_killed_it_goes_on_from_its_finished_parts(run, tmp_path):
    class Stops(Silent):
        parts = 0

        def part_done(self, run, part):
            self.parts += 1
            if self.parts == 7 + 3:
                raise KeyboardInterrupt

    class Counts(Silent):
        done = None

        def run_started(self, run, *, parts, done, what):
            self.done = done

    with pytest.raises(KeyboardInterrupt):
        extract_all(run, work(tmp_path / "s"), progress=Stops())
    assert not StoreReader(tmp_path / "s").has("largest")
    counts = Counts()
    extract_all(run, work(tmp_path / "s", strict=True), progress=counts)
    assert counts.done == 3
    assert largest(tmp_path / "s")["largest"].to_list() == pytest.approx(by_hand(run), rel=1e-12)


def test_shards_divide_its_parts_and_the_last_one_stores_them(run, tmp_path):
    first = extract_all(run, work(tmp_path / "s", shard=parse_shard("1/2"))).outcomes[0]
    assert (first.status, StoreReader(tmp_path / "s").run_ids()) == ("partial", [])
    second = extract_all(run, work(tmp_path / "s", shard=parse_shard("2/2"))).outcomes[0]
    assert second.status == "done", second
    assert largest(tmp_path / "s")["largest"].to_list() == pytest.approx(by_hand(run), rel=1e-12)


def test_a_dry_run_has_its_lines(run, tmp_path):
    assert "run run: largest entries of 7 layers" in list(plan_all(run, work(tmp_path / "s"), timed=False))


def test_help_offers_it_with_its_options():
    code = (
        "from geodiag.extraction.measurements import MEASUREMENTS\n"
        "from tests.jobs.largest_entry import LargestEntry\n"
        "MEASUREMENTS.append(LargestEntry())\n"
        "from geodiag.cli import main\n"
        "main(['extract', '--help'])\n"
    )
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env={"COLUMNS": "200", "PATH": ""})
    assert "largest (largest entry of each state's update)" in " ".join(shown.stdout.replace("│", " ").split())
    assert "--power" in shown.stdout
