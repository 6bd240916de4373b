"""The functions of a notebook, as the contract with users names them."""

from __future__ import annotations

import polars as pl
import pytest

import geodiag
from geodiag.errors import SettingsError
from geodiag.store import StoreReader
from tests import synthetic
from tests.jobs.rows import same_rows


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    synthetic.write_run(folder / "runs" / "a", run="a", steps=4)
    report = geodiag.extract(folder / "runs", store=folder / "store", device="cpu", rank=4)
    assert report.exit_code == 0
    return geodiag.open_store(folder / "store")


def test_extract_stays_a_function(store):
    """Its package is imported by the first call, and must not take its name."""
    import geodiag.jobs

    again = geodiag.extract(store.path.parent / "runs", store=store.path, device="cpu", rank=4)
    assert [outcome.status for outcome in again.outcomes] == ["unchanged"]


def test_frames_have_one_row_a_key(store):
    layers = len(synthetic.SHAPES)
    for frame, key, rows in (
        (store.steps(), ("run", "step"), 4),
        (store.pairs(), ("run", "step", "new_task", "old_task"), 6),
        (store.families(), ("run", "step", "family"), 4 * layers),
        (store.layers(), ("run", "step", "layer"), 4 * layers),
        (store.outcomes(), ("run",), 1),
    ):
        assert frame.height == rows
        assert frame.select(key).is_unique().all()
        assert frame.to_pandas().shape[0] == rows


def test_scan_is_lazy(store):
    assert isinstance(store.scan("pairs"), pl.LazyFrame)


def test_analyze_gives_frames(store):
    tables = geodiag.analyze(store, resamples=20, permutations=20)
    assert "table03_global_step_confidence" in tables


def test_published_numbers_are_at_hand():
    frame = geodiag.load_paper("table03")
    assert frame.filter(pl.col("signal") == "update_norm")["spearman"].item() == -0.48


def test_an_unknown_example_is_named():
    with pytest.raises(geodiag.GeodiagError, match="no example 'x'; one of: lab"):
        geodiag.load_example("x")


def test_unknown_names_raise_as_usual():
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        geodiag.nope  # noqa: B018


def test_the_shipped_runs_are_whole():
    """Forty runs of fourteen steps: every score, every pair, every gradient."""
    runs = geodiag.load_example("lab")
    assert runs.runs().height == 40
    steps = runs.steps()
    assert steps.group_by("run").len()["len"].unique().to_list() == [14]
    later = steps.filter(pl.col("step") > 1)
    for column in ("forgetting", "global_gap", "update_norm", "mean_grad_cos"):
        assert later[column].null_count() == 0
    assert runs.scan("scores").collect().height == 40 * 15 * 14


def test_a_store_says_what_it_holds(store, tmp_path):
    assert repr(store) == f"Store({str(store.path)!r}: 1 run, 4 steps, with scores, no gradients)"
    assert "<td>Seq. SFT</td><td>1</td><td>tiny</td>" in store._repr_html_()
    empty = store.only([])
    assert "0 runs, 0 steps, no scores" in repr(empty)
    assert "<table>" not in empty._repr_html_()


def test_names_in_a_store_stay_text(tmp_path):
    synthetic.write_run(tmp_path / "runs" / "a", run="a", steps=1, method="<img src=x onerror=x()>", size="<b>")
    geodiag.extract(tmp_path / "runs", store=tmp_path / "store", device="cpu")
    shown = geodiag.open_store(tmp_path / "store")._repr_html_()
    assert "<img" not in shown
    assert "&lt;img src=x onerror=x()&gt;" in shown
    assert "&lt;b&gt;" in shown


def test_extract_in_shards(tmp_path):
    synthetic.write_run(tmp_path / "run", steps=2)
    given = {"store": tmp_path / "store", "device": "cpu", "rank": 4}
    (first,) = geodiag.extract(tmp_path / "run", shard="1/2", **given).outcomes
    assert StoreReader(tmp_path / "store").run_ids() == []
    (second,) = geodiag.extract(tmp_path / "run", shard="2/2", **given).outcomes
    assert (first.status, second.status) == ("partial", "done")
    geodiag.extract(tmp_path / "run", **(given | {"store": tmp_path / "alone"}))
    assert same_rows(tmp_path / "store", tmp_path / "alone")
    with pytest.raises(SettingsError, match="shard is 3/2"):
        geodiag.extract(tmp_path / "run", shard="3/2", **given)
