"""Finished layers of runs that are not finished: each on disk whole, found again after a restart."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from geodiag.extract import PER_LAYER_TABLES, Row
from geodiag.store import TABLES

FOLDER = Path(".staging") / "layers"
"""Where work in progress lies in a store."""


class Staging:
    """The finished layers of one run under one key, one folder a layer.

    A layer's folder is written under another name and renamed when it is complete, so what is found after a
    kill is whole.
    """

    def __init__(self, store: Path, run: str, key: str) -> None:
        self.folder = store / FOLDER / f"{run}-{key}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def done(self, layers: Iterable[str]) -> set[str]:
        """Those of `layers` whose rows are here."""
        return {layer for layer in layers if (self.folder / _safe(layer)).is_dir()}

    def put(self, layer: str, rows: Mapping[str, list[Row]]) -> None:
        """Keeps the rows of one finished layer."""
        final = self.folder / _safe(layer)
        draft = self.folder / f".{_safe(layer)}.{os.getpid()}"
        draft.mkdir(exist_ok=True)
        for table in PER_LAYER_TABLES:
            _frame(table, rows[table]).write_parquet(draft / f"{table}.parquet", compression="zstd")
        os.replace(draft, final)

    def collect(self, layers: Iterable[str]) -> dict[str, pl.DataFrame]:
        """The rows of all `layers` together, by table, in the order of `layers`."""
        folders = [self.folder / _safe(layer) for layer in layers]
        return {
            table: pl.concat([pl.read_parquet(folder / f"{table}.parquet") for folder in folders])
            for table in PER_LAYER_TABLES
        }

    def clear(self) -> None:
        """Lets go of everything, once the run is in the store."""
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep(store: Path, run: str) -> None:
    """Removes what earlier attempts at `run` left under other keys, which nothing can use any more."""
    for folder in (store / FOLDER).glob(f"{run}-*"):
        if folder.name.rpartition("-")[0] == run:
            shutil.rmtree(folder, ignore_errors=True)


def _frame(table: str, rows: list[Row]) -> pl.DataFrame:
    columns = {name: dtype for name, dtype in TABLES[table].columns.items() if name != "run"}
    return pl.DataFrame(rows, schema=columns, orient="row")


def _safe(layer: str) -> str:
    return layer.replace("/", "~")
