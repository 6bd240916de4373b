"""Page and sections of tables, shared by the Markdown, LaTeX and HTML writers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from geodiag.common.text import counted
from geodiag.paper import list_paper, load_paper
from geodiag.tables.catalog import ANALYSIS_TABLES, Computed
from geodiag.tables.format import PUBLISHED
from geodiag.tables.inputs import Inputs
from geodiag.tables.options import order_methods, order_sizes
from geodiag.tables.summary import summarise
from geodiag.tables.table import AnalysisTable, TablePanel


def is_published(table: AnalysisTable) -> bool:
    """Whether the paper published numbers of a table that match its rows."""
    return bool(table.key) and table.name in list_paper()


def with_published(table: AnalysisTable, frame: pl.DataFrame) -> pl.DataFrame:
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


@dataclass(frozen=True)
class PageSection:
    """One table of the page."""

    table: AnalysisTable
    """Its title, question and doubts."""
    shows: str
    """A sentence on its rows; empty for none."""
    panels: tuple[TablePanel, ...]
    """Its rows."""


@dataclass(frozen=True)
class Page:
    """The tables of a store with summary and notes."""

    summary: tuple[str, ...]
    """Sentences on what explains forgetting in this store."""
    notes: tuple[str, ...]
    """The runs that were read, signs and numbers."""
    sections: tuple[PageSection, ...]
    """The tables."""
    missing: tuple[tuple[AnalysisTable, str], ...]
    """Tables that could not be computed, with the reason."""


def make_page(computed: Computed, *, compare_paper: bool) -> Page:
    """The page of computed tables.

    Args:
        computed: the tables.
        compare_paper: add published numbers to ours where there are any.
    """
    tables = {table.name: table for table in ANALYSIS_TABLES}
    sections = [_section(tables[name], frame, compare_paper=compare_paper) for name, frame in computed.frames.items()]
    missing = tuple((tables[name], reason) for name, reason in computed.missing.items())
    return Page(_summary(computed), tuple(_notes(computed.inputs)), tuple(sections), missing)


def _section(table: AnalysisTable, frame: pl.DataFrame, *, compare_paper: bool) -> PageSection:
    compared = compare_paper and is_published(table)
    panels = _compare(table, frame) if compared else table.panels(frame) if table.panels else [TablePanel("", frame)]
    return PageSection(table, table.shows(frame) if table.shows else "", tuple(panels))


def _compare(table: AnalysisTable, frame: pl.DataFrame) -> Sequence[TablePanel]:
    """Ours and published side by side, or one after the other where they have no row in common."""
    published = load_paper(table.name)
    key = list(table.key)
    if frame.join(published.cast({name: frame.schema[name] for name in key}), on=key, how="semi").height:
        return [TablePanel("", with_published(table, frame))]
    return [TablePanel("This store.", frame), TablePanel("Published; no row of it is in this store.", published)]


def _summary(computed: Computed) -> tuple[str, ...]:
    frames = computed.frames
    if "confounds" in frames and "incremental" in frames:
        return tuple(summarise(frames["confounds"], frames["incremental"], computed.inputs.options))
    if "incremental" in computed.missing:
        return (f"This store cannot say what explains forgetting: {computed.missing['incremental']}.",)
    return ("Only some tables were asked for; what explains forgetting needs `confounds` and `incremental`.",)


def _notes(inputs: Inputs) -> list[str]:
    options, rows = inputs.options, inputs.step_frame
    sizes, methods = order_sizes(rows["size"]), order_methods(rows["method"])
    runs, scored = rows["run"].n_unique(), rows["forgetting"].count()
    return [
        f"**Read:** {counted(runs, 'run')} ({', '.join(methods)} at {', '.join(sizes)}), "
        f"{counted(rows.height, 'step')}, forgetting known at {scored}.",
        "**Signs:** `forgetting` and drops are negative where something was lost, so a signal that grows with "
        "forgetting has a negative ρ; `retention_loss` is positive where something was lost.",
        f"**Numbers:** ρ is Spearman's; intervals cover {100 * options.level:g} %; {options.resamples} resamples, "
        f"{options.permutations} shuffles, seed {options.seed}; the independent unit is the {options.cluster}. "
        "A dash stands where a number would mean nothing, for too few runs above all; the column `note` of our "
        "tables' files says why.",
    ]
