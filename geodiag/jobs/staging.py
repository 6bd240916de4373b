"""Finished parts of runs that are not finished: each on disk whole, found again after a restart."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from geodiag.extraction import Row
from geodiag.store import TABLES

FOLDER = Path(".staging") / "parts"
"""Where work in progress lies in a store."""


class Staging:
    """The finished parts of one run under one key, one folder a part: its layers, or its steps' gradients.

    A part's folder is written under another name and renamed when it is complete, so what is found after a
    kill is whole.

    Args:
        store: the store's folder.
        run: the run's id.
        key: from `staging_key`; parts of other inputs or settings are not found.
        tables: the tables that each part adds rows to.
    """

    def __init__(self, store: Path, run: str, key: str, *, tables: Sequence[str]) -> None:
        self.folder, self.tables = store / FOLDER / f"{run}-{key}", tuple(tables)
        self.folder.mkdir(parents=True, exist_ok=True)

    def done(self, parts: Iterable[str]) -> set[str]:
        """Those of `parts` whose rows are here."""
        return {part for part in parts if (self.folder / _safe(part)).is_dir()}

    def put(self, part: str, rows: Mapping[str, list[Row]]) -> None:
        """Keeps the rows of one finished part."""
        draft = self.folder / f".{_safe(part)}.{os.getpid()}"
        draft.mkdir(exist_ok=True)
        for table in self.tables:
            rows_frame(table, rows[table]).write_parquet(draft / f"{table}.parquet", compression="zstd")
        os.replace(draft, self.folder / _safe(part))

    def collect(self, parts: Iterable[str]) -> dict[str, pl.DataFrame]:
        """The rows of all `parts` together, by table, in the order of `parts`."""
        folders = [self.folder / _safe(part) for part in parts]
        return {
            table: pl.concat([pl.read_parquet(folder / f"{table}.parquet") for folder in folders])
            for table in self.tables
        }

    def clear(self) -> None:
        """Lets go of everything, once it is in the store."""
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep(store: Path, run: str) -> None:
    """Removes what earlier attempts at `run` left under other keys, which nothing can use any more."""
    for folder in (store / FOLDER).glob(f"{run}-*"):
        if folder.name.rpartition("-")[0] == run:
            shutil.rmtree(folder, ignore_errors=True)


def rows_frame(table: str, rows: Sequence[Row]) -> pl.DataFrame:
    """Rows as a frame with the types of a table of the store, without the run column."""
    columns = {name: dtype for name, dtype in TABLES[table].columns.items() if name != "run"}
    return pl.DataFrame(rows, schema=columns, orient="row")


def _safe(part: str) -> str:
    return part.replace("/", "~")
