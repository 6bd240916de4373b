"""Our numbers beside the published ones."""

from __future__ import annotations

import polars as pl

from geodiag.paper import list_paper, load_paper
from geodiag.tables.format import PUBLISHED
from geodiag.tables.table import Table


def is_published(table: Table) -> bool:
    """Whether the paper's numbers of a table are known, and have rows to match."""
    return bool(table.key) and table.name in list_paper()


def beside(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """A table with each published number after ours.

    Args:
        table: one that is published.
        frame: its rows.

    Returns:
        The rows of both, ours first: the table's key, then each other column and the same with the ending
        `_published`, null where one side has no such row.
    """
    key = list(table.key)
    published = load_paper(table.name)
    published = published.cast({name: frame.schema[name] for name in key})
    theirs = published.rename({name: name + PUBLISHED for name in published.columns if name not in key})
    order = pl.concat([frame.select(key), published.select(key)]).unique(maintain_order=True)
    both = order.join(frame, on=key, how="left", maintain_order="left", nulls_equal=True)
    both = both.join(theirs, on=key, how="left", maintain_order="left", nulls_equal=True)
    values = [name for name in frame.columns if name not in key]
    return both.select(*key, *(name + ending for name in values for ending in ("", PUBLISHED)))
