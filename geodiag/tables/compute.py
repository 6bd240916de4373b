"""Computing tables that share their inputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from geodiag.errors import SettingsError
from geodiag.store import StoreReader
from geodiag.tables.catalog import ANALYSIS_TABLES
from geodiag.tables.inputs import Inputs, NotInStore
from geodiag.tables.options import Options
from geodiag.tables.table import AnalysisTable


@dataclass(frozen=True)
class Computed:
    """The tables of a store."""

    inputs: Inputs
    """What they were made from."""
    frames: dict[str, pl.DataFrame]
    """Tables by name."""
    missing: dict[str, str]
    """Why the others could not be made."""


def compute_tables(
    store: StoreReader, options: Options | None = None, only: Iterable[str] | None = None
) -> dict[str, pl.DataFrame]:
    """Every table that the store allows.

    Args:
        store: the store, or a view of some of its runs.
        options: draws, seed and the independent unit.
        only: names of tables, or their beginnings up to an underscore ("table04"); default: all.

    Returns:
        Tables by name, in the order of `TABLES`. A table that needs what the store does not hold is not among them.

    Raises:
        SettingsError: there is no table of that name.
        NotInStore: a table that was asked for by name cannot be made.
        StoreError: the store holds no run.
    """
    found = compute_all(store, options, only)
    for name, why in found.missing.items():
        if only is not None:
            raise NotInStore(why, where=name)
    return found.frames


def compute_all(store: StoreReader, options: Options | None = None, only: Iterable[str] | None = None) -> Computed:
    """As `compute_tables`, with what was missing instead of an error."""
    inputs = Inputs(store, options or Options())
    found = Computed(inputs, {}, {})
    for table in select_tables(only):
        try:
            found.frames[table.name] = table.compute(inputs)
        except NotInStore as reason:
            found.missing[table.name] = f"{reason.what}; {reason.fix}"
    return found


def select_tables(only: Iterable[str] | None) -> list[AnalysisTable]:
    """Tables by name or by the beginning of a name.

    Raises:
        SettingsError: there is no table of that name.
    """
    if only is None:
        return list(ANALYSIS_TABLES)
    wanted = [only] if isinstance(only, str) else list(only)
    for name in wanted:
        if not any(_is_named(table, name) for table in ANALYSIS_TABLES):
            raise SettingsError(
                f"no table {name!r}", fix=f"one of: {', '.join(table.name for table in ANALYSIS_TABLES)}"
            )
    return [table for table in ANALYSIS_TABLES if any(_is_named(table, name) for name in wanted)]


def _is_named(table: AnalysisTable, name: str) -> bool:
    return table.name == name or table.name.startswith(f"{name}_")
