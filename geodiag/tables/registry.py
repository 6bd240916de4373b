"""Every table, in the order of the page."""

from __future__ import annotations

from geodiag.tables import steps
from geodiag.tables.table import Table

TABLES: tuple[Table, ...] = (
    Table(
        "table03_global_step_confidence",
        "Table 3: step signals against forgetting",
        "Over all steps of all runs, which signals go with forgetting?",
        "All signals drift with the step index, and so does forgetting.",
        ("forgetting",),
        steps.global_confidence,
    ),
)
"""All tables. Adding one is one entry here and one function that builds it."""
