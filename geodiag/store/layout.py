"""The folders and files of a store, their listing, and the marker that makes a folder a store.

    STORE/geodiag.json                           marks the folder as a store and says its schema version
    STORE/<table>/run=<run>/part-0.parquet       one run's rows of one table
    STORE/.staging/                              files that are not (yet) part of the store
    STORE/.bases/<run>-<key>/                    bases of task updates, for steps that a run gains later; may be deleted

A run is in the store when its partition of `runs` is there; everything else follows from that one file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from geodiag.common import __version__
from geodiag.common.files import write_text
from geodiag.errors import StoreError
from geodiag.store.schema import SCHEMA_VERSION

MARKER = "geodiag.json"
STAGING = ".staging"
PART = "part-0.parquet"

_RUN_ID = re.compile(r"[A-Za-z0-9._-]+")
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def check_run_id(run: str) -> str:
    """Returns `run`, or raises StoreError where it cannot name a partition."""
    if not _RUN_ID.fullmatch(run) or run == _NULL_PARTITION:
        raise StoreError(f"run id {run!r} is not allowed", fix="use letters, digits, '.', '_' and '-' only")
    return run


def part_path(store: Path, table: str, run: str) -> Path:
    """The file that holds one run's rows of one table."""
    return store / table / f"run={run}" / PART


def part_files(store: Path, table: str, run: str) -> list[Path]:
    """Every file with one run's rows of one table, sorted; empty when it has none."""
    return sorted((store / table / f"run={run}").glob("part-*.parquet"))


@dataclass(frozen=True)
class StoreListing:
    """The files of a store's tables at one moment."""

    files: Mapping[str, Mapping[str, tuple[Path, ...]]]
    """By table and run, sorted; only the tables that were listed."""

    @property
    def runs(self) -> list[str]:
        """The runs that are wholly in the store, sorted."""
        return sorted(self.files["runs"])


def list_store(store: Path, tables: Iterable[str]) -> StoreListing:
    """List the files of some tables.

    Args:
        store: the store's folder.
        tables: the tables' names; `runs`, by which runs are seen, is listed in any case, and first.
    """
    return StoreListing({name: _partitions(store / name) for name in dict.fromkeys(("runs", *tables))})


def _partitions(table: Path) -> dict[str, tuple[Path, ...]]:
    """The files of a table by run, sorted; none where it has no folder."""
    try:
        with os.scandir(table) as entries:
            names = [entry.name for entry in entries if entry.name.startswith("run=")]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    partitions = {}
    for name in names:
        if parts := tuple(sorted((table / name).glob("part-*.parquet"))):
            partitions[name.removeprefix("run=")] = parts
    return partitions


def visible_runs(store: Path) -> list[str]:
    """The runs that are wholly in the store, sorted."""
    return list_store(store, ()).runs


def is_store(path: Path) -> bool:
    """Whether a folder is marked as a store, of whatever version."""
    return (path / MARKER).is_file()


def check_store(path: Path) -> None:
    """Raises StoreError unless `path` is a store that this version reads."""
    if not path.exists():
        raise StoreError("there is no such folder", where=path, fix="name a store that `geodiag extract` wrote")
    if not is_store(path):
        raise StoreError(f"not a store: it holds no {MARKER}", where=path, fix="name a store's top folder")
    version = _marked_version(path / MARKER)
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"the store has schema {version}, this geodiag reads up to {SCHEMA_VERSION}",
            where=path,
            fix="upgrade geodiag",
        )


def create_store(path: Path) -> None:
    """Makes `path` a store if it is not one yet.

    Raises:
        StoreError: it is a file, holds something else, or is a store of a newer version.
    """
    if is_store(path):
        return check_store(path)
    if path.exists() and not path.is_dir():
        raise StoreError("this is a file", where=path, fix="a store is a folder; name a new or empty one")
    if path.exists() and any(not _is_own(entry.name) for entry in path.iterdir()):
        raise StoreError("the folder is not empty and not a store", where=path, fix="name a new or empty folder")
    path.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": "geodiag", "schema": SCHEMA_VERSION, "geodiag_version": __version__}, indent=2)
    write_text(path / MARKER, text + "\n")
    return None


def _is_own(name: str) -> bool:
    """Whether a file belongs to a store that is being made: its marker, that marker's draft, or the staging area."""
    return name in (STAGING, MARKER) or name.startswith(f".{MARKER}.")


def _marked_version(marker: Path) -> int:
    try:
        version = json.loads(marker.read_text(encoding="utf-8"))["schema"]
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise StoreError("the store's marker cannot be read", where=marker, fix="restore it") from cause
    if not isinstance(version, int) or version < 1:
        raise StoreError(f"the store's marker names schema {version!r}", where=marker, fix="restore it")
    return version
