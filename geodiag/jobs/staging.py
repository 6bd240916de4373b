"""Finished parts of runs that are not finished: each on disk whole, found again after a restart."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from geodiag.errors import StoreError
from geodiag.extraction import Row
from geodiag.store import TABLES

FOLDER = Path(".staging") / "parts"
"""Where work in progress lies in a store."""


class Staging:
    """The finished parts of one run under one key, one folder a part: its layers, or its steps' gradients.

    A part's folder is written under another name and renamed when it is complete, so what is found after a
    kill is whole. Several processes may put parts at a time; of one part put twice the first stays.

    Args:
        store: the store's folder.
        run: the run's id.
        key: from `staging_key`; parts of other inputs or settings are not found.
        tables: the tables that each part adds rows to.
    """

    def __init__(self, store: Path, run: str, key: str, *, tables: Sequence[str]) -> None:
        self.run, self.folder, self.tables = run, store / FOLDER / f"{run}-{key}", tuple(tables)

    def done(self, parts: Iterable[str]) -> set[str]:
        """Those of `parts` whose rows are here."""
        # One listing instead of a look for each: network file systems remember for seconds that a file is not there.
        there = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        return {part for part in parts if _safe(part) in there}

    def put(self, part: str, rows: Mapping[str, list[Row]]) -> None:
        """Keeps the rows of one finished part.

        Raises:
            OSError: it cannot be written; nothing of it stays.
        """
        target, draft = self.folder / _safe(part), self.folder / f".{_safe(part)}.{uuid.uuid4().hex}"
        draft.mkdir(parents=True)
        try:
            for table in self.tables:
                rows_frame(table, rows[table]).write_parquet(draft / f"{table}.parquet", compression="zstd")
            os.replace(draft, target)
        except BaseException as error:
            shutil.rmtree(draft, ignore_errors=True)
            if not (isinstance(error, OSError) and target.is_dir()):  # another process was quicker
                raise

    def collect(self, parts: Iterable[str]) -> dict[str, pl.DataFrame]:
        """The rows of all `parts` together, by table, in the order of `parts`.

        Raises:
            StoreError: parts cannot be read back, as after a power failure; they are dropped.
        """
        names, frames = list(parts), dict[str, dict[str, pl.DataFrame]]()
        for part in names:
            try:
                frames[part] = {
                    table: pl.read_parquet(self.folder / _safe(part) / f"{table}.parquet") for table in self.tables
                }
            except (OSError, pl.exceptions.PolarsError):
                shutil.rmtree(self.folder / _safe(part), ignore_errors=True)
        if broken := len(names) - len(frames):
            what = f"{broken} of {len(names)} finished parts could not be read back and were dropped"
            raise StoreError(what, where=self.folder, run=self.run, fix="run it again: the others are kept")
        return {table: pl.concat([frames[part][table] for part in names]) for table in self.tables}

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
