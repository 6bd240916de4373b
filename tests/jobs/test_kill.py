"""Killed at any moment, the store is whole or without the run, and the same command goes on to the same rows."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from geodiag.store import StoreReader
from tests import synthetic
from tests.jobs.rows import same_rows

MOMENTS = {
    "any": (4, None, 1.2),
    "commit": (3, "commit-*", 0.01),
    "journal": (3, "commit-*/commit.json", 0.001),
    "once": (1, None, 1.2),
}
"""How many kills, what is there from when on (in the staging area), and how long after that they come at most."""


def arguments(runs, store, *more, rank=4):
    return ["extract", runs, "--store", store, "--device", "cpu", "--rank", rank, *more]


@pytest.fixture(scope="module")
def ready(tmp_path_factory, geodiag):
    """A run, its rows extracted without disturbance, and a store that has it with other settings."""
    folder = tmp_path_factory.mktemp("kill")
    runs = synthetic.write_run(folder / "runs" / "run", steps=2, blocks=2).parent
    for name, rank in (("whole", 4), ("other", 3)):
        code, said = geodiag.run(arguments(runs, folder / name, rank=rank), folder / "log")
        assert code == 0, said
    return folder


def state(store, ready):
    """`absent`, or the store that this one's rows equal."""
    try:
        visible = StoreReader(store).run_ids()
    except Exception:
        assert not (store / "geodiag.json").exists()
        return "absent"
    if not visible:
        return "absent"
    found = [name for name in ("whole", "other") if same_rows(store, ready / name)]
    assert len(found) == 1, "rows that belong to neither"
    return found[0]


@pytest.mark.parametrize("start", ["new", "overwrite"])
@pytest.mark.parametrize("moment", [pytest.param("any", marks=pytest.mark.slow), "commit", "journal", "once"])
def test_killed_at_random_moments(ready, geodiag, tmp_path, start, moment):
    """At any moment, while a run is committed, and between its moves; of new and replaced runs."""
    rng = np.random.default_rng([start == "new", list(MOMENTS).index(moment)])
    wanted, file, latest = MOMENTS[moment]
    store, kills = tmp_path / "store", 0
    command = arguments(ready / "runs", store, *(["--overwrite"] if start == "overwrite" else []))
    while kills < wanted:
        if start == "overwrite" and not store.exists():
            shutil.copytree(ready / "other", store)
        pid = geodiag.start(command, tmp_path / "log")
        once = None if file is None else (store / ".staging", file)
        code = geodiag.kill_after(pid, rng.uniform(0, latest), once=once)
        kills += code == -9
        assert code in (-9, 0), (tmp_path / "log").read_text()
        found = state(store, ready)
        assert found != "other" or start == "overwrite"
        if (found == "whole" and code == -9) or code == 0:
            code, said = geodiag.run(arguments(ready / "runs", store), tmp_path / "log")
            assert (code, "run: unchanged" in said) == (0, True), said
            assert not list((store / ".staging").glob("commit-*"))
            shutil.rmtree(store)
    if store.exists():
        code, said = geodiag.run(command, tmp_path / "log")
        assert code == 0, said
        assert state(store, ready) == "whole"
