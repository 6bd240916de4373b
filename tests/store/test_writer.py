import threading

import polars as pl
import pytest

from geodiag.errors import StoreError
from geodiag.store import TABLES, StoreReader, add_table, commit, create_store, remove_run, write_run

from .builders import gradients, runs_row, seen, tables


def test_a_run_comes_back_as_it_was_written(tmp_path):
    write_run(tmp_path / "s", "r", tables())
    reader = StoreReader(tmp_path / "s")
    for name, rows in tables().items():
        read = reader.scan(name).collect()
        assert read["run"].unique().to_list() == ["r"]
        assert read.drop("run").equals(rows.sort([key for key in TABLES[name].key if key != "run"]))


def test_the_files_lie_where_they_should_without_the_run_column(tmp_path):
    write_run(tmp_path / "s", "r", tables())
    files = {path.relative_to(tmp_path / "s").as_posix() for path in (tmp_path / "s").rglob("*.parquet")}
    assert files == {f"{name}/run=r/part-0.parquet" for name in tables()}
    for file in files:
        assert "run" not in pl.read_parquet_schema(tmp_path / "s" / file)


def test_files_are_compressed_with_zstd_and_carry_statistics(tmp_path):
    import pyarrow.parquet as pq

    write_run(tmp_path / "s", "r", tables())
    column = pq.ParquetFile(tmp_path / "s/pairs/run=r/part-0.parquet").metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"
    assert (column.statistics.min, column.statistics.max) == (1, 1)


def test_tables_without_rows_leave_no_file(tmp_path):
    write_run(tmp_path / "s", "r", {**tables(), "scores": tables()["scores"].clear()})
    assert not (tmp_path / "s/scores").exists()


def test_a_run_is_not_replaced_unless_asked(tmp_path):
    write_run(tmp_path / "s", "r", tables(1.0))
    with pytest.raises(StoreError, match=r"run r: the run is in the store already; pass --overwrite"):
        write_run(tmp_path / "s", "r", tables(2.0))
    assert seen(tmp_path / "s", "r") == {1.0}
    write_run(tmp_path / "s", "r", tables(2.0), overwrite=True)
    assert seen(tmp_path / "s", "r") == {2.0}


@pytest.mark.parametrize("run", ["", "a b", "a/b", "../x", "a=b", "é", "a\n", "__HIVE_DEFAULT_PARTITION__"])
def test_run_ids_that_cannot_name_a_partition(tmp_path, run):
    with pytest.raises(StoreError, match="use letters, digits"):
        write_run(tmp_path / "s", run, tables())
    assert not (tmp_path / "s").exists()


def test_a_bad_table_leaves_no_store_behind(tmp_path):
    with pytest.raises(StoreError, match="lacks score"):
        write_run(tmp_path / "s", "r", {**tables(), "scores": tables()["scores"].drop("score")})
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("runs", [{}, {"runs": runs_row().clear()}])
def test_the_row_of_runs_must_be_there(tmp_path, runs):
    rest = {name: rows for name, rows in tables().items() if name != "runs"}
    with pytest.raises(StoreError, match="table runs must hold one row"):
        write_run(tmp_path / "s", "r", {**rest, **runs})


def test_a_table_is_added_with_its_settings(tmp_path):
    write_run(tmp_path / "s", "r", tables())
    before = StoreReader(tmp_path / "s").config("r")
    add_table(tmp_path / "s", "r", "gradients", gradients(), settings={"probes": 8})
    reader = StoreReader(tmp_path / "s")
    assert reader.scan("gradients").collect()["dot"].to_list() == [1.0]
    assert reader.config("r") == {**before, "probes": 8}
    with pytest.raises(StoreError, match="has the table gradients already; pass --overwrite"):
        add_table(tmp_path / "s", "r", "gradients", gradients())
    add_table(tmp_path / "s", "r", "gradients", gradients(3.0), overwrite=True)
    assert reader.scan("gradients").collect()["dot"].to_list() == [3.0]
    assert seen(tmp_path / "s", "r") == {1.0}


def test_a_table_is_added_to_a_run_that_is_there(tmp_path):
    write_run(tmp_path / "s", "r", tables())
    with pytest.raises(StoreError, match="run x: the run is not in the store; one of: r"):
        add_table(tmp_path / "s", "x", "gradients", gradients())
    with pytest.raises(StoreError, match="has no rows"):
        add_table(tmp_path / "s", "r", "gradients", gradients().clear())
    with pytest.raises(StoreError, match="has the table runs already"):
        add_table(tmp_path / "s", "r", "runs", runs_row(), overwrite=True)


def test_a_removed_run_leaves_nothing(tmp_path):
    for run in ("r", "other"):
        write_run(tmp_path / "s", run, tables())
    remove_run(tmp_path / "s", "r")
    assert StoreReader(tmp_path / "s").run_ids() == ["other"]
    assert not list((tmp_path / "s").rglob("run=r"))
    with pytest.raises(StoreError, match="run r: the run is not in the store; one of: other"):
        remove_run(tmp_path / "s", "r")


def test_a_folder_with_other_things_is_not_made_a_store(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(StoreError, match="not empty and not a store; name a new or empty folder"):
        write_run(tmp_path, "r", tables())
    with pytest.raises(StoreError, match="this is a file"):
        create_store(tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_or_one_with_staged_work_becomes_a_store(tmp_path):
    (tmp_path / ".staging" / "layers-of-r").mkdir(parents=True)
    write_run(tmp_path, "r", tables())
    assert (tmp_path / ".staging" / "layers-of-r").is_dir()
    create_store(tmp_path)
    assert StoreReader(tmp_path).run_ids() == ["r"]


def test_writers_take_turns(tmp_path):
    runs = [f"run-{i}" for i in range(8)]
    failed = []

    def write(run):
        try:
            write_run(tmp_path / "s", run, tables())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert StoreReader(tmp_path / "s").run_ids() == runs


def test_a_writer_that_hangs_is_named_rather_than_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(commit, "LOCK_PATIENCE", 0.05)
    write_run(tmp_path / "s", "r", tables())
    refused = []

    def write():
        try:
            write_run(tmp_path / "s", "q", tables())
        except StoreError as error:
            refused.append(str(error))

    with commit.commit(tmp_path / "s"):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert "another process has been writing for" in refused[0]
    assert StoreReader(tmp_path / "s").run_ids() == ["r"]
