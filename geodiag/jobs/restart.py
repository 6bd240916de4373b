"""Restarting an extraction: staged parts, stored rows and saved bases of runs that gained steps."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from geodiag.checkpoints import Layer
from geodiag.common.files import file_name
from geodiag.errors import StoreError
from geodiag.extraction.measurements import MEASUREMENTS, Measurement
from geodiag.extraction.measurements.geometry.alignment import Basis, read_bases, write_bases
from geodiag.extraction.measurements.measurement import Row
from geodiag.jobs.stored_config import changed_inputs, changed_settings, staging_key
from geodiag.store import TABLES, StoreReader

PARTS_FOLDER = Path(".staging") / "parts"
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
        self.run, self.folder, self.tables = run, store / PARTS_FOLDER / f"{run}-{key}", tuple(tables)

    def done(self, parts: Iterable[str]) -> set[str]:
        """Those of `parts` whose rows are here."""
        # One listing instead of a look for each: network file systems remember for seconds that a file is not there.
        there = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        return {part for part in parts if file_name(part) in there}

    def put(self, part: str, rows: Mapping[str, Sequence[Row]]) -> None:
        """Keeps the rows of one finished part.

        Raises:
            OSError: it cannot be written; nothing of it stays.
        """
        target, draft = self.folder / file_name(part), self.folder / f".{file_name(part)}.{uuid.uuid4().hex}"
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
                    table: pl.read_parquet(self.folder / file_name(part) / f"{table}.parquet") for table in self.tables
                }
            except (OSError, pl.exceptions.PolarsError):
                shutil.rmtree(self.folder / file_name(part), ignore_errors=True)
        if broken := len(names) - len(frames):
            message = f"{broken} of {len(names)} finished parts could not be read back and were dropped"
            raise StoreError(message, where=self.folder, run=self.run, fix="run it again: the others are kept")
        return {table: pl.concat([frames[part][table] for part in names]) for table in self.tables}

    def clear(self) -> None:
        """Lets go of everything, once it is in the store."""
        shutil.rmtree(self.folder, ignore_errors=True)


def staged_name(run: str, measurement: str) -> str:
    """The name under which a later measurement stages a run's parts; `+` is in no run's id."""
    return f"{run}+{measurement}"


def sweep(store: Path, run: str) -> None:
    """Removes what earlier attempts at `run` left under other keys, which nothing can use any more."""
    for folder in (store / PARTS_FOLDER).glob(f"{run}-*"):
        if folder.name.rpartition("-")[0] == run:
            shutil.rmtree(folder, ignore_errors=True)


def rows_frame(table: str, rows: Sequence[Row]) -> pl.DataFrame:
    """Rows as a frame with the types of a table of the store, without the run column."""
    columns = {name: dtype for name, dtype in TABLES[table].columns.items() if name != "run"}
    return pl.DataFrame(rows, schema=columns, orient="row")


BASES_FOLDER = ".bases"
"""Where a store keeps the bases of its runs' task updates."""


def growing_tables() -> list[str]:
    """Tables of the geometry to which added steps add rows."""
    founding = [table for measurement in MEASUREMENTS if measurement.founds_run for table in measurement.tables]
    return [table.name for table in founding if "step" in table.key]


def later_measurements() -> list[Measurement]:
    """Measurements that add to a stored run, and whose rows stay as they are when it gains steps."""
    return [measurement for measurement in MEASUREMENTS if not measurement.founds_run]


@dataclass(frozen=True)
class KeptBases:
    """The bases of one run under one key: a file a layer beside the store's tables."""

    store: Path
    run: str
    key: str
    """Of the inputs and settings that they come from (`staging_key`); others' are not found."""

    def put(self, layer: Layer, bases: Mapping[str, Basis]) -> None:
        """Keeps a layer's."""
        if bases:
            write_bases(self._file(layer), bases)

    def of(self, layer: Layer) -> Mapping[str, Basis]:
        """A layer's by object; none where they are not kept, or cannot be read."""
        return read_bases(self._file(layer))

    def sweep_others(self) -> None:
        """Removes those of earlier states of the run."""
        for folder in (self.store / BASES_FOLDER).glob(f"{self.run}-*"):
            if folder.name.rpartition("-")[0] == self.run and folder != self._folder:
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def _folder(self) -> Path:
        return self.store / BASES_FOLDER / f"{self.run}-{self.key}"

    def _file(self, layer: Layer) -> Path:
        return self._folder / f"{file_name(layer.name)}.safetensors"


def no_bases(_: Layer) -> Mapping[str, Basis]:
    """Nothing is known."""
    return {}


@dataclass(frozen=True)
class StoredSteps:
    """What a store holds of a run that has gained steps since."""

    steps: int
    """How many are stored."""
    config: Mapping[str, Any]
    """The config that they were extracted with."""

    def bases(self, store: Path, run: str) -> KeptBases:
        """The bases kept when they were."""
        later = {measurement.name for measurement in later_measurements()}
        own = {key: value for key, value in self.config.items() if key not in later}
        return KeptBases(store, run, staging_key(own))

    def joined(
        self, store: Path, run: str, tables: Mapping[str, pl.DataFrame], config: Mapping[str, Any]
    ) -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
        """The stored rows with the new ones below, and the config of both."""
        reader = StoreReader(store).only([run])
        joined = dict(tables)
        for name in growing_tables():
            if reader.has(name):
                stored = reader.scan(name).drop("run").collect()
                joined[name] = pl.concat([stored, tables[name].select(stored.columns)]) if name in tables else stored
        kept, settings = kept_measurements(reader, self.config)
        return joined | kept, {**config, **settings}


def kept_measurements(reader: StoreReader, config: Mapping[str, Any]) -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
    """The tables of later measurements that a stored run has, and what they were made with.

    Args:
        reader: the store, confined to the run.
        config: the run's stored configuration.
    """
    later = later_measurements()
    names = [*(table.name for measurement in later for table in measurement.tables), "merges"]
    tables = {name: reader.scan(name).drop("run").collect() for name in names if reader.has(name)}
    return tables, {measurement.name: config[measurement.name] for measurement in later if measurement.name in config}


def stored_before(store: Path, run: str, config: Mapping[str, Any]) -> StoredSteps | None:
    """What the store holds of a run's first steps; None where it holds none of it, all of it, or of something else.

    Args:
        store: the store's folder.
        run: the run's id.
        config: what the run would be extracted with now.
    """
    reader = StoreReader(store)
    try:
        stored = reader.config(run) if run in reader.run_ids() else None
    except (StoreError, OSError, pl.exceptions.PolarsError):
        return None  # whoever brings the run into the store says so
    if stored is None or changed_settings(stored, config) or changed_inputs(stored, config):
        return None
    steps = len(stored["tasks"])
    return StoredSteps(steps, stored) if steps < len(config["tasks"]) else None
