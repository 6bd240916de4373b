"""A store made small for sharing: float32 digits, strong compression, nothing else changed."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from geodiag.errors import StoreError
from geodiag.store.commit import commit
from geodiag.store.layout import create_store, part_path, visible_runs
from geodiag.store.reader import StoreReader
from geodiag.store.schema import TABLES

MEASURED = ("updates", "pairs", "gradients")
"""Tables of measured numbers, which were computed in single precision or from weights stored in less."""
COMPRESSION_LEVEL = 19
"""Of zstd: slow to write once, as quick to read as any."""


def pack_store(store: StoreReader, out: Path) -> Path:
    """Copies the runs of a store into a new one of about a third the size.

    Measured numbers are rounded to the nearest float32, a relative error of at most 6e-8, and stay Float64 in
    the schema; scores, counts and names stay exact. Equal values stay equal, so ties in ranks stay ties.

    Args:
        store: what to copy, or a view of some of its runs.
        out: the new store's folder.

    Returns:
        `out`.

    Raises:
        StoreError: there is a store with runs at `out` already, or it cannot be written.
    """
    create_store(out)
    if visible_runs(out):
        raise StoreError("the store has runs already", where=out, fix="name a folder that is not there")
    for run in store.run_ids():
        one = store.only([run])
        with commit(out) as pending:
            for name in [*(table for table in TABLES if table != "runs"), "runs"]:
                if one.has(name):
                    _write(name, one.scan(name).collect().drop("run"), pending.bring_in(part_path(out, name, run)))
    return out


def _write(name: str, frame: pl.DataFrame, path: Path) -> None:
    rounded = [c for c, dtype in frame.schema.items() if dtype == pl.Float64 and name in MEASURED]
    frame = frame.with_columns(pl.col(rounded).cast(pl.Float32).cast(pl.Float64))
    if "singular_values" in frame.columns:
        narrow = pl.col("singular_values").cast(pl.List(pl.Float32)).cast(pl.List(pl.Float64))
        frame = frame.with_columns(narrow)
    others = [c for c, dtype in frame.schema.items() if c not in rounded and not isinstance(dtype, pl.List)]
    pq.write_table(
        frame.to_arrow(),
        path,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=others,
        use_byte_stream_split=rounded,  # the bytes that rounding has made zero then lie together
    )
