import json
import os
from collections import Counter
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from geodiag import figures, open_store
from geodiag.api import Store
from geodiag.errors import StoreError
from geodiag.store import SCHEMA_VERSION, TABLES, StoreReader, create_store, remove_run, write_run

from .builders import tables

WRITTEN = Path(__file__).parents[1] / "data" / "store_0_1_0" / "store"


@pytest.fixture
def store(tmp_path):
    for run, tag in (("b", 2.0), ("a", 1.0)):
        write_run(tmp_path / "s", run, tables(tag))
    return tmp_path / "s"


def test_runs_are_sorted_and_typed(store):
    runs = StoreReader(store).runs()
    assert runs["run"].to_list() == ["a", "b"]
    assert dict(runs.schema) == dict(TABLES["runs"].columns)


def test_scanning_is_lazy_and_shows_all_runs(store):
    scores = StoreReader(store).scan("scores")
    assert isinstance(scores, pl.LazyFrame)
    assert scores.select("run", "score").sort("run").collect().rows() == [("a", 1.0), ("b", 2.0)]


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_its_types_whether_it_is_there_or_not(store, table):
    assert dict(StoreReader(store).scan(table).collect().schema) == dict(TABLES[table].columns)


def test_has(store):
    reader = StoreReader(store)
    assert reader.has("scores")
    assert not reader.has("gradients")
    with pytest.raises(StoreError, match="there is no table 'score'"):
        reader.has("score")
    with pytest.raises(StoreError, match="there is no table 'score'"):
        reader.scan("score")


def test_only_some_runs(store):
    view = StoreReader(store).only(["b"])
    assert view.run_ids() == ["b"]
    assert view.runs()["run"].to_list() == ["b"]
    assert view.scan("scores").collect()["score"].to_list() == [2.0]
    assert view.config("b")["tag"] == 2.0
    with pytest.raises(StoreError, match="run a: the run is not in the store; one of: b"):
        view.config("a")
    with pytest.raises(StoreError, match="run z: the run is not in the store; one of: a, b"):
        StoreReader(store).only(["a", "z"])


def test_a_view_keeps_the_class_of_its_store(store):
    class Named(StoreReader):
        pass

    assert type(Named(store).only(["a"])) is Named


def test_a_run_without_its_row_in_runs_is_not_seen(store):
    (store / "runs/run=a/part-0.parquet").unlink()
    reader = StoreReader(store)
    assert reader.run_ids() == ["b"]
    assert reader.scan("scores").collect()["run"].to_list() == ["b"]


@pytest.mark.parametrize("run", ["7", "1.0", "007", "1e3", "true", "null", "2026-01-02"])
def test_run_ids_stay_text(tmp_path, run):
    write_run(tmp_path / "s", run, tables())
    reader = StoreReader(tmp_path / "s")
    assert reader.run_ids() == [run]
    assert reader.scan("scores").collect()["run"].to_list() == [run]
    assert reader.scan("scores").filter(pl.col("run") == run).collect().height == 1


@pytest.mark.parametrize("above", ["run=5", "step=3/score=9", "[ab]*?", "with space", "a=b/a=c"])
def test_the_folders_above_a_store_do_not_matter(tmp_path, above):
    write_run(tmp_path / above / "s", "r", tables(0.25))
    read = StoreReader(tmp_path / above / "s").scan("scores").collect()
    assert read.rows() == [("r", 1, "a", 0.25, None, None)]


def test_a_relative_path_reads_the_same(store, monkeypatch):
    monkeypatch.chdir(store.parent)
    assert StoreReader("s").scan("scores").collect()["run"].to_list() == ["a", "b"]


def test_other_tools_read_a_table_as_it_lies(store):
    expected = [("a", 1.0), ("b", 2.0)]
    by_polars = pl.scan_parquet(store / "scores", hive_partitioning=True).select("run", "score").sort("run")
    assert by_polars.collect().rows() == expected
    by_pandas = pd.read_parquet(store / "scores").astype({"run": str}).sort_values("run")
    assert list(by_pandas[["run", "score"]].itertuples(index=False, name=None)) == expected
    by_arrow = ds.dataset(store / "updates", partitioning="hive").to_table().sort_by("run").to_pydict()
    assert by_arrow["run"] == ["a", "a", "b", "b"]
    assert by_arrow["singular_values"][0] == [1.0, 0.5]


def test_a_column_added_later_reads_as_null_from_older_files(store):
    part = store / "scores/run=a/part-0.parquet"
    older = pl.read_parquet(part, hive_partitioning=False).drop("stderr", "n")
    older.with_columns(gone=1).write_parquet(part)
    rows = StoreReader(store).scan("scores").sort("run").collect()
    assert rows.rows() == [("a", 1, "a", 1.0, None, None), ("b", 1, "a", 2.0, None, None)]


def test_no_such_folder(tmp_path):
    with pytest.raises(StoreError, match=r"nowhere: there is no such folder; name a store that"):
        StoreReader(tmp_path / "nowhere")


def test_not_a_store(tmp_path):
    with pytest.raises(StoreError, match=r"not a store: it holds no geodiag\.json; name a store's top folder"):
        StoreReader(tmp_path)


def test_no_runs(tmp_path):
    create_store(tmp_path / "s")
    reader = StoreReader(tmp_path / "s")
    assert reader.run_ids() == []
    assert reader.scan("pairs").collect().height == 0
    with pytest.raises(StoreError, match="the store holds no run; write one with `geodiag extract`"):
        reader.runs()


def test_a_newer_schema(store):
    (store / "geodiag.json").write_text(json.dumps({"schema": SCHEMA_VERSION + 1}))
    expected = rf"schema {SCHEMA_VERSION + 1}, this geodiag reads up to {SCHEMA_VERSION}; upgrade geodiag"
    with pytest.raises(StoreError, match=expected):
        StoreReader(store)
    with pytest.raises(StoreError, match=expected):
        write_run(store, "c", tables())


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": "x"}', '{"schema": 0}'])
def test_a_damaged_marker(store, text):
    (store / "geodiag.json").write_text(text)
    with pytest.raises(StoreError, match=r"the store's marker .*; restore it"):
        StoreReader(store)


def test_settings_of_all_runs(store):
    assert {run: config["tag"] for run, config in StoreReader(store).configs().items()} == {"a": 1.0, "b": 2.0}
    assert list(StoreReader(store).only(["b"]).configs()) == ["b"]


def test_settings_that_cannot_be_read(tmp_path):
    runs = tables()["runs"].with_columns(config=pl.lit("not json"))
    write_run(tmp_path / "s", "r", {**tables(), "runs": runs})
    with pytest.raises(StoreError, match="settings cannot be read; extract the run again"):
        StoreReader(tmp_path / "s").config("r")


def test_a_long_lived_store_sees_a_run_that_is_added_later(store):
    reader = StoreReader(store)
    assert reader.run_ids() == ["a", "b"]
    write_run(store, "c", tables(3.0))
    assert reader.run_ids() == ["a", "b", "c"]
    assert reader.scan("scores").sort("run").collect()["score"].to_list() == [1.0, 2.0, 3.0]
    write_run(store, "c", tables(4.0), overwrite=True)
    assert reader.only(["c"]).scan("scores").collect()["score"].to_list() == [4.0]
    remove_run(store, "c")
    assert reader.run_ids() == ["a", "b"]


@pytest.fixture
def listed(monkeypatch):
    """How often each folder of a store is listed."""
    counts = Counter()
    real = os.scandir

    def counting(path):
        counts[Path(path).name] += 1
        return real(path)

    monkeypatch.setattr(os, "scandir", counting)
    return counts


def test_a_snapshot_lists_the_folders_once(store, listed):
    view = StoreReader(store)
    snapshot = view.snapshot()
    assert {listed[table] for table in TABLES} == {1}
    listed.clear()
    assert snapshot.runs()["run"].to_list() == ["a", "b"]
    assert [snapshot.has(table) for table in ("pairs", "gradients")] == [True, False]
    assert snapshot.only(["b"]).snapshot().scan("scores").collect()["run"].to_list() == ["b"]
    assert snapshot.configs().keys() == {"a", "b"}
    assert not any(listed[table] for table in TABLES)


@pytest.mark.parametrize(
    "answer",
    [
        Store.steps,
        Store.pairs,
        Store.families,
        Store.layers,
        Store.outcomes,
        lambda store: figures.depth_profile(store),
        lambda store: store.explain("increments", step=2),
    ],
    ids=["steps", "pairs", "families", "layers", "outcomes", "figure", "explanation"],
)
def test_an_answer_lists_the_folders_once(listed, answer):
    store = open_store(WRITTEN)
    listed.clear()
    answer(store)
    assert {listed[table] for table in TABLES} == {1}


def test_a_snapshot_keeps_the_runs_of_its_moment_and_the_store_does_not(store):
    view = StoreReader(store).only(["a", "b"])
    snapshot = view.snapshot()
    remove_run(store, "b")
    assert snapshot.run_ids() == ["a", "b"]
    assert view.run_ids() == ["a"]
    assert view.snapshot().run_ids() == ["a"]


def test_how_it_shows_itself(store):
    reader = StoreReader(store)
    assert repr(reader) == f"StoreReader('{store}', 2 runs)"
    assert repr(reader.only(["a"])).endswith("1 run)")
    assert "<table" in reader._repr_html_()
