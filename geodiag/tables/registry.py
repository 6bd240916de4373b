"""Every table, in the order of the page."""

from __future__ import annotations

from geodiag.tables.registry_figures import FIGURE_TABLES
from geodiag.tables.registry_ours import OUR_TABLES
from geodiag.tables.registry_pairs import PAIR_TABLES
from geodiag.tables.registry_steps import STEP_TABLES
from geodiag.tables.table import Table

TABLES: tuple[Table, ...] = (
    *OUR_TABLES,
    *sorted((*STEP_TABLES, *PAIR_TABLES), key=lambda table: table.name),
    *FIGURE_TABLES,
)
"""All tables: ours, the paper's by number, the numbers of its figures. Adding one is one entry in its list."""
