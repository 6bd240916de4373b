"""Writing runs into a store, each whole or not at all, and copying a store at a smaller size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from geodiag.errors import StoreError
from geodiag.store.commit import Commit, commit
from geodiag.store.layout import check_run_id, check_store, create_store, part_files, part_path, visible_runs
from geodiag.store.reader import StoreReader
from geodiag.store.schema import CORE_TABLES, TABLES, check_frame, get_table

ROWS_A_GROUP = 65_536
"""Rows of a Parquet row group: small enough that a filter on step or kind skips most of a large table."""


COMPRESSION_LEVEL = 19
"""The zstd level of a packed store: slow to write, as quick to read as any."""


def write_run(store: str | Path, run: str, tables: Mapping[str, pl.DataFrame], *, overwrite: bool = False) -> None:
    """Writes a run, so that readers see all of it or nothing.

    Args:
        store: the store's folder; made when it is not there.
        run: the run's id.
        tables: frames by table name, with or without the column `run`. `runs` must be among them and hold
            one row. A table left out, or without rows, does not exist for this run.
        overwrite: replace a run of that id.

    Raises:
        StoreError: a frame does not fit its table, the run is there already, the folder is something else
            than a store, or it cannot be written.
    """
    check_run_id(run)
    frames = {name: check_frame(name, run, frame) for name, frame in tables.items()}
    if "runs" not in frames or frames["runs"].height != 1:
        raise StoreError("table runs must hold one row for the run", run=run, fix="give tables['runs']")
    path = Path(store)
    create_store(path)
    with commit(path) as pending:
        if run in visible_runs(path) and not overwrite:
            raise StoreError("the run is in the store already", where=path, run=run, fix="pass --overwrite")
        _take_run_out(pending, run)
        for name in _marker_last(frames):
            _bring_in(pending, name, run, frames[name])


def add_table(
    store: str | Path,
    run: str,
    name: str,
    frame: pl.DataFrame,
    *,
    settings: Mapping[str, object] | None = None,
    overwrite: bool = False,
) -> None:
    """Adds a table to a run that is in the store, such as `gradients` measured later.

    Args:
        store: the store's folder.
        run: the run's id.
        name: the table's name.
        frame: its rows, with or without the column `run`.
        settings: the settings of its measurement; merged into the run's configuration.
        overwrite: replace the table if the run has it.

    Raises:
        StoreError: the frame does not fit its table, the run is not in the store or has the table already.
    """
    if frame.is_empty():
        raise StoreError(f"table {name} has no rows", run=run, fix="leave it out")
    add_tables(store, run, {name: frame}, settings=settings, overwrite=overwrite)


def add_tables(
    store: str | Path,
    run: str,
    frames: Mapping[str, pl.DataFrame],
    *,
    settings: Mapping[str, object] | None = None,
    overwrite: bool = False,
) -> None:
    """Adds several tables to a run that is in the store, all in one commit; one without rows does not exist.

    Args:
        store: the store's folder.
        run: the run's id.
        frames: by table, with or without the column `run`.
        settings: the settings of their measurement; merged into the run's configuration.
        overwrite: replace tables that the run has.

    Raises:
        StoreError: a frame does not fit its table, the run is not in the store or has one of the tables already.
    """
    checked = {name: check_frame(name, check_run_id(run), frame) for name, frame in frames.items()}
    path = Path(store)
    check_store(path)
    with commit(path) as pending:
        _check_there(path, run)
        old = [name for name in checked if part_files(path, name, run)]
        if "runs" in checked or (old and not overwrite):
            name = "runs" if "runs" in checked else old[0]
            raise StoreError(f"the run has the table {name} already", where=path, run=run, fix="pass --overwrite")
        marker = _with_settings(path, run, settings or {})
        # A run that only gains a table stays visible during the commit; one whose rows change does not.
        if old or settings:
            _take_table_out(pending, "runs", run)
            for name in checked:
                _take_table_out(pending, name, run)
        for name, frame in checked.items():
            if frame.height:
                _bring_in(pending, name, run, frame)
        if old or settings:
            _bring_in(pending, "runs", run, marker)


def remove_run(store: str | Path, run: str) -> None:
    """Removes a run from the store.

    Raises:
        StoreError: the store or the run is not there.
    """
    path = Path(store)
    check_store(path)
    with commit(path) as pending:
        _check_there(path, run)
        _take_run_out(pending, run)


def _check_there(path: Path, run: str) -> None:
    runs = visible_runs(path)
    if run not in runs:
        raise StoreError("the run is not in the store", where=path, run=run, fix=f"one of: {', '.join(runs)}")


def _marker_last(frames: Mapping[str, pl.DataFrame]) -> list[str]:
    filled = [name for name in TABLES if name in frames and frames[name].height and name != "runs"]
    return [*filled, "runs"]


def _take_run_out(pending: Commit, run: str) -> None:
    """Takes the table `runs` first: from then on no reader sees the run."""
    for name in TABLES:
        _take_table_out(pending, name, run)


def _take_table_out(pending: Commit, name: str, run: str) -> None:
    for file in part_files(pending.store, name, run):
        pending.take_out(file)


def _bring_in(pending: Commit, name: str, run: str, frame: pl.DataFrame) -> None:
    staged = pending.bring_in(part_path(pending.store, name, run))
    frame.drop("run").write_parquet(
        staged, compression="zstd", statistics=True, row_group_size=ROWS_A_GROUP, use_pyarrow=False
    )


def _with_settings(path: Path, run: str, settings: Mapping[str, object]) -> pl.DataFrame:
    """The run's row of `runs`, its configuration extended."""
    columns = [name for name in get_table("runs").columns if name != "run"]
    row = pl.read_parquet(part_files(path, "runs", run), hive_partitioning=False, glob=False).select(columns)
    config = json.dumps({**json.loads(row["config"].item()), **settings}, sort_keys=True)
    return check_frame("runs", run, row.with_columns(config=pl.lit(config)))


def pack_store(store: StoreReader, out: Path) -> Path:
    """Copies the runs of a store into a new one of about a third the size, for sharing.

    Numbers in the tables of measurements are rounded to the nearest float32, a relative error of at most 6e-8, and
    stay Float64 in the schema; scores, counts and names stay exact. Equal values stay equal, so ranks keep their ties.

    Args:
        store: the store, or a view of some of its runs.
        out: the new store's folder.

    Returns:
        `out`.

    Raises:
        StoreError: there is a store with runs at `out` already, or it cannot be written.
    """
    create_store(out)
    if visible_runs(out):
        raise StoreError("the store has runs already", where=out, fix="name a folder that is not there")
    listed = store.snapshot()
    for run in listed.run_ids():
        one = listed.only([run])
        with commit(out) as pending:
            for name in [*(table for table in TABLES if table != "runs"), "runs"]:
                if one.has(name):
                    _write_packed(
                        name, one.scan(name).collect().drop("run"), pending.bring_in(part_path(out, name, run))
                    )
    return out


def _write_packed(name: str, frame: pl.DataFrame, path: Path) -> None:
    import pyarrow.parquet as pq

    measured = name not in {table.name for table in CORE_TABLES}
    rounded = [c for c, dtype in frame.schema.items() if dtype == pl.Float64 and measured]
    lists = [c for c, dtype in frame.schema.items() if dtype == pl.List(pl.Float64) and measured]
    frame = frame.with_columns(
        pl.col(rounded).cast(pl.Float32).cast(pl.Float64),
        pl.col(lists).cast(pl.List(pl.Float32)).cast(pl.List(pl.Float64)),
    )
    others = [c for c, dtype in frame.schema.items() if c not in rounded and not isinstance(dtype, pl.List)]
    pq.write_table(
        frame.to_arrow(),
        path,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=others,
        use_byte_stream_split=rounded,  # the bytes that rounding has made zero then lie together
    )
