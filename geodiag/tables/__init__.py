"""Tables of the analysis: the paper's in its format, and our own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodiag.common.deprecated import moved_names
from geodiag.tables.catalog import ANALYSIS_TABLES, compute_tables
from geodiag.tables.inputs import NotInStore
from geodiag.tables.options import Options
from geodiag.tables.render import write_tables
from geodiag.tables.table import AnalysisTable, TablePanel

__all__ = ["ANALYSIS_TABLES", "AnalysisTable", "NotInStore", "Options", "TablePanel", "compute_tables", "write_tables"]


if not TYPE_CHECKING:
    __getattr__ = moved_names(
        __name__,
        {
            "Panel": "geodiag.tables.table:TablePanel",
            "TABLES": "geodiag.tables.catalog:ANALYSIS_TABLES",
            "Table": "geodiag.tables.table:AnalysisTable",
        },
    )
