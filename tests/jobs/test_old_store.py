"""A store that geodiag 0.1.0 wrote, with its checkpoints: it opens, explains, draws, and grows."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import polars as pl
import pytest

import geodiag
from geodiag.jobs import stored_config
from geodiag.store import TABLES

WRITTEN = Path(__file__).parent.parent / "data" / "store_0_1_0"
TIME = 1_700_000_000
"""Of every checkpoint file, which a fingerprint of 0.1.0 holds and a copy does not keep."""


@pytest.fixture
def old(tmp_path):
    """A copy of the runs and the store, with the times that the files had."""
    for name in ("runs", "store"):
        shutil.copytree(WRITTEN / name, tmp_path / name)
    for path in (tmp_path / "runs").rglob("*"):
        os.utime(path, (TIME, TIME))
    return tmp_path


def extracted(folder, **options):
    """What an extraction with the settings of the store did, by run."""
    report = geodiag.extract(folder / "runs", store=folder / "store", device="cpu", rank=8, strict=True, **options)
    return {outcome.run: (outcome.status, outcome.detail) for outcome in report.outcomes}


def table(folder, name):
    return geodiag.open_store(folder / "store").scan(name).collect()


def parts(folder):
    """The bytes of every file of the store's tables."""
    return {path: path.read_bytes() for path in sorted((folder / "store").rglob("part-*.parquet"))}


def test_it_opens(old):
    store = geodiag.open_store(old / "store")
    assert store.run_ids() == ["experts", "increments"]
    assert store.steps().select("run", "step").rows() == [
        *(("experts", n) for n in (1, 2)),
        *(("increments", n) for n in (1, 2, 3)),
    ]
    # Of the scores written by hand: each old task loses .2 a step, and was at .9.
    lost = store.pairs().filter(run="increments", step=3).sort("old_task")
    assert lost["drop"].to_list() == pytest.approx([-0.2, -0.2])
    assert store.scan("gradients").collect()["run"].unique().to_list() == ["increments"]


def test_it_explains_and_draws(old):
    store = geodiag.open_store(old / "store")
    text = store.explain("increments", step=3).to_text()
    assert "gamma" in text
    axes = geodiag.figures.step_dynamics(store.only(["increments"]))
    assert any(line.get_xdata().size == 3 for line in axes[0].lines)


def test_a_second_extraction_changes_nothing(old):
    before = parts(old)
    assert {status for status, _ in extracted(old).values()} == {"unchanged"}
    assert parts(old) == before


def test_a_step_more_is_added_alone(old):
    before = {name: table(old, name) for name in ("updates", "pairs", "unions", "active")}
    (old / "runs" / "experts" / "extended.yaml").replace(old / "runs" / "experts" / "run.yaml")
    done = extracted(old)
    assert done["experts"] == ("done", "extracted 7 layers of 1 step added to 2")
    assert done["increments"][0] == "unchanged"
    for name, rows in before.items():
        key = list(TABLES[name].key)
        grown = table(old, name)
        assert grown.join(rows, on=key, how="semi").sort(key).select(rows.columns).equals(rows.sort(key)), name
        assert grown.height > rows.height


def test_gradients_are_added(old):
    stored = table(old, "gradients")
    done = extracted(old, measure="geometry,gradients")
    assert done["experts"] == ("done", "unchanged, gradients at 1 step")
    assert done["increments"] == ("unchanged", "unchanged, gradients unchanged")
    both = table(old, "gradients")
    assert both.filter(pl.col("run") == "increments").sort(*stored.columns).equals(stored.sort(*stored.columns))
    assert both.filter(pl.col("run") == "experts").height == 7


def test_a_setting_that_came_later_has_the_value_that_0_1_0_worked_with(old, monkeypatch):
    """A store of 0.1.0 names no setting of later versions; it was made with what 0.1.0 did in its place."""
    config = geodiag.open_store(old / "store").config("experts")
    monkeypatch.setattr(stored_config, "SETTING_KEYS", (*stored_config.SETTING_KEYS, "refined"))
    monkeypatch.setitem(stored_config.VALUES_0_1_0, "refined", False)
    assert stored_config.changed_settings(config, {**config, "refined": False}) == []
    assert stored_config.changed_settings(config, {**config, "refined": True}) == ["refined False -> True"]
