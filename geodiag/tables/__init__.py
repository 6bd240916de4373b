"""The tables of the analysis: the paper's, its way, and those that hold what it leaves open."""

from __future__ import annotations

from geodiag.tables.compute import compute_tables
from geodiag.tables.inputs import NotInStore
from geodiag.tables.options import Options
from geodiag.tables.registry import TABLES
from geodiag.tables.table import Panel, Table
from geodiag.tables.write import write_tables

__all__ = ["TABLES", "NotInStore", "Options", "Panel", "Table", "compute_tables", "write_tables"]
