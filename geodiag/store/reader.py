"""Reading a store: its runs, their settings, and its tables as lazy frames."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, Self

import polars as pl

from geodiag.common.text import counted
from geodiag.errors import StoreError
from geodiag.store.layout import StoreListing, check_store, list_store
from geodiag.store.schema import TABLES, get_table

_PATH = "__path__"
_RUN_OF_PATH = r"run=([^/\\=]+)[/\\][^/\\]+$"


class StoreReader:
    """A store opened for reading. It holds no data: every call lists the files as they are now.

    Only runs that are wholly in the store are seen; those that a writer has under way are not. An answer that takes
    several tables lists them once with `snapshot`.

    Args:
        path: the store's top folder.

    Raises:
        StoreError: the folder is missing, is no store, or was written by a newer version.
    """

    path: Path
    """The store's top folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._chosen: frozenset[str] | None = None
        self._listing: StoreListing | None = None
        check_store(self.path)

    def only(self, runs: Iterable[str]) -> Self:
        """The same store with some of its runs.

        Args:
            runs: run ids.

        Raises:
            StoreError: one of them is not in this view.
        """
        chosen, names = frozenset([runs] if isinstance(runs, str) else runs), self.run_ids()
        for run in sorted(chosen.difference(names)):
            raise StoreError("the run is not in the store", where=self.path, run=run, fix=_one_of(names))
        view = copy.copy(self)
        view._chosen = chosen
        return view

    def snapshot(self) -> Self:
        """The same view with its files listed now, once, for an answer that takes several tables.

        A snapshot does not see runs that are added later, and fails on runs that are removed: take one at the start
        of an answer and drop it at the end. The snapshot of a snapshot is itself.
        """
        if self._listing is not None:
            return self
        view = copy.copy(self)
        view._listing = list_store(self.path, TABLES)
        return view

    def run_ids(self) -> list[str]:
        """The ids of the runs in this view, sorted; empty when there is none."""
        return list(self._files("runs"))

    def runs(self) -> pl.DataFrame:
        """The table `runs`, one row a run, sorted by id.

        Raises:
            StoreError: the store holds no run.
        """
        frame = self.scan("runs").sort("run").collect()
        if frame.is_empty():
            raise StoreError("the store holds no run", where=self.path, fix="write one with `geodiag extract`")
        return frame

    def has(self, table: str) -> bool:
        """Whether any run has rows in that table."""
        return bool(self._files(get_table(table).name))

    def scan(self, table: str) -> pl.LazyFrame:
        """A table as a lazy frame, with the column `run` first; without rows where no run has it.

        Args:
            table: its name, one of `geodiag.store.schema.TABLES`.

        Raises:
            StoreError: there is no table of that name.
        """
        spec = get_table(table)
        files = list(chain.from_iterable(self._files(table).values()))
        if not files:
            return spec.empty().lazy()
        stored = dict(spec.columns)
        del stored["run"]
        # `run` is taken from the paths. Polars' own reading of hive partitions would also take in folders above the
        # store that happen to be named `key=value`, and let one named `step=3` replace a column of ours.
        frame = pl.scan_parquet(
            files,
            schema=stored,
            missing_columns="insert",
            extra_columns="ignore",
            include_file_paths=_PATH,
            hive_partitioning=False,
            glob=False,
        )
        return frame.with_columns(run=pl.col(_PATH).str.extract(_RUN_OF_PATH)).select(*spec.columns)

    def config(self, run: str) -> dict[str, Any]:
        """Every setting a run was extracted with.

        Raises:
            StoreError: the run is not in the store, or its settings cannot be read.
        """
        return self.only([run]).configs()[run]

    def configs(self) -> dict[str, dict[str, Any]]:
        """The settings of every run in this view, by run.

        Raises:
            StoreError: the store holds no run, or a run's settings cannot be read.
        """
        configs = {}
        for run, text in self.runs().select("run", "config").iter_rows():
            try:
                configs[run] = dict(json.loads(text))
            except (ValueError, TypeError) as cause:
                fix = "extract the run again with --overwrite"
                raise StoreError("the run's settings cannot be read", where=self.path, run=run, fix=fix) from cause
        return configs

    def _files(self, table: str) -> dict[str, tuple[Path, ...]]:
        """The files of a table by run, sorted; only runs of this view that have some."""
        listing = list_store(self.path, (table,)) if self._listing is None else self._listing
        files = {}
        for run in listing.runs:
            if (self._chosen is None or run in self._chosen) and run in listing.files[table]:
                files[run] = listing.files[table][run]
        return files

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {counted(len(self.run_ids()), 'run')})"

    def _repr_html_(self) -> str:
        return f"<p>{type(self).__name__} at <code>{self.path}</code></p>{self.runs()._repr_html_()}"


def _one_of(names: list[str]) -> str:
    return f"one of: {', '.join(names)}" if names else "the store holds no run"
