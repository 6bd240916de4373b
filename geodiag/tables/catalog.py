"""All tables by name: the list, and their computation from shared inputs.

Adding a table is one function with its entry, in the file of its family.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

import polars as pl

from geodiag.common.text import select
from geodiag.store import StoreReader
from geodiag.tables.confounds import CONFOUND_TABLES
from geodiag.tables.incremental import INCREMENTAL_TABLES
from geodiag.tables.inputs import Inputs, NotInStore
from geodiag.tables.intervals import INTERVAL_TABLES
from geodiag.tables.layers import LAYER_TABLES
from geodiag.tables.options import Options
from geodiag.tables.pairs import OUTCOME_TABLES, PAIR_TABLES
from geodiag.tables.rankings import RANKING_TABLES
from geodiag.tables.steps import STEP_TABLES
from geodiag.tables.table import AnalysisTable, TablePart

_PARTS: tuple[TablePart, ...] = get_args(TablePart)
_FAMILIES = (
    *(INCREMENTAL_TABLES, CONFOUND_TABLES, RANKING_TABLES, INTERVAL_TABLES),
    *(STEP_TABLES, PAIR_TABLES, LAYER_TABLES, OUTCOME_TABLES),
)


def _place(table: AnalysisTable) -> tuple[int, str]:
    return _PARTS.index(table.part), table.name if table.part == "paper" else ""


ANALYSIS_TABLES: tuple[AnalysisTable, ...] = tuple(sorted((t for tables in _FAMILIES for t in tables), key=_place))
"""All tables in the order of the page: ours, the paper's by number, the numbers of its figures."""


@dataclass(frozen=True)
class Computed:
    """The tables of a store."""

    inputs: Inputs
    """The inputs they were computed from."""
    frames: dict[str, pl.DataFrame]
    """Tables by name."""
    missing: dict[str, str]
    """The reason for each table that could not be computed."""


def compute_tables(
    store: StoreReader, options: Options | None = None, only: Iterable[str] | None = None
) -> dict[str, pl.DataFrame]:
    """Every table that the store allows.

    Args:
        store: the store, or a view of some of its runs.
        options: draws, seed and the independent unit.
        only: names of tables, or their beginnings up to an underscore ("table04"); default: all.

    Returns:
        Tables by name, in the order of `ANALYSIS_TABLES`, without those whose conditions the store does not meet.

    Raises:
        SettingsError: there is no table of that name.
        NotInStore: a table that was asked for by name cannot be made.
        StoreError: the store holds no run.
    """
    computed = compute_all(store, options, only)
    for name, reason in computed.missing.items():
        if only is not None:
            raise NotInStore(reason, where=name)
    return computed.frames


def compute_all(store: StoreReader, options: Options | None = None, only: Iterable[str] | None = None) -> Computed:
    """As `compute_tables`, with the reasons for missing tables instead of an error."""
    inputs = Inputs(store, options or Options())
    computed = Computed(inputs, {}, {})
    for table in select(only, ANALYSIS_TABLES, kind="table"):
        try:
            computed.frames[table.name] = table.compute(inputs)
        except NotInStore as reason:
            computed.missing[table.name] = f"{reason.what}; {reason.fix}"
    return computed
