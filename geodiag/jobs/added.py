"""A run that gained steps: what the store holds of it, and the bases that spare its earlier tasks a second spectrum."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from geodiag.checkpoints import Layer
from geodiag.errors import StoreError
from geodiag.extraction import Basis, read_bases, write_bases
from geodiag.jobs.config import changed_inputs, changed_settings, staging_key
from geodiag.store import StoreReader

FOLDER = ".bases"
"""Where a store keeps the bases of its runs' task updates."""
STEP_TABLES = ("updates", "pairs", "unions")
"""Tables to which added steps add rows."""
LATER_TABLES = ("gradients",)
"""Tables that are measured after the run is stored, and stay as they are."""


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
        for folder in (self.store / FOLDER).glob(f"{self.run}-*"):
            if folder.name.rpartition("-")[0] == self.run and folder != self._folder:
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def _folder(self) -> Path:
        return self.store / FOLDER / f"{self.run}-{self.key}"

    def _file(self, layer: Layer) -> Path:
        return self._folder / f"{layer.name.replace('/', '~')}.safetensors"


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
        own = {key: value for key, value in self.config.items() if key not in LATER_TABLES}
        return KeptBases(store, run, staging_key(own))

    def joined(
        self, store: Path, run: str, tables: Mapping[str, pl.DataFrame], config: Mapping[str, Any]
    ) -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
        """The stored rows with the new ones below, and the config of both."""
        reader = StoreReader(store).only([run])
        found = dict(tables)
        for name in (*STEP_TABLES, *LATER_TABLES):
            if reader.has(name):
                stored = reader.scan(name).drop("run").collect()
                found[name] = pl.concat([stored, tables[name].select(stored.columns)]) if name in tables else stored
        return found, {**config, **{key: self.config[key] for key in LATER_TABLES if key in self.config}}


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
