"""What stands on the page, whichever way it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from geodiag.paper import load_paper
from geodiag.tables.beside import beside, is_published
from geodiag.tables.compute import Computed
from geodiag.tables.inputs import Inputs
from geodiag.tables.orders import order_methods, order_sizes
from geodiag.tables.registry import TABLES
from geodiag.tables.summary import summarise
from geodiag.tables.table import Panel, Table


@dataclass(frozen=True)
class Section:
    """One table of the page."""

    table: Table
    """What is said of it."""
    shows: str
    """What its rows say; empty where that is left to the reader."""
    panels: tuple[Panel, ...]
    """Its rows."""


@dataclass(frozen=True)
class Page:
    """Everything there is to write."""

    summary: tuple[str, ...]
    """What explains forgetting in this store and what does not."""
    notes: tuple[str, ...]
    """What was read and how to read it."""
    sections: tuple[Section, ...]
    """The tables."""
    missing: tuple[tuple[Table, str], ...]
    """Tables that could not be made, and why."""


def make_page(found: Computed, *, compare_paper: bool) -> Page:
    """The page of computed tables.

    Args:
        found: the tables.
        compare_paper: put published numbers beside ours where there are any.
    """
    tables = {table.name: table for table in TABLES}
    sections = [_section(tables[name], frame, compare_paper=compare_paper) for name, frame in found.frames.items()]
    missing = tuple((tables[name], why) for name, why in found.missing.items())
    return Page(_summary(found), tuple(_notes(found.inputs)), tuple(sections), missing)


def _section(table: Table, frame: pl.DataFrame, *, compare_paper: bool) -> Section:
    compared = compare_paper and is_published(table)
    panels = _compare(table, frame) if compared else table.panels(frame) if table.panels else [Panel("", frame)]
    return Section(table, table.shows(frame) if table.shows else "", tuple(panels))


def _compare(table: Table, frame: pl.DataFrame) -> Sequence[Panel]:
    """Ours and published side by side, or one after the other where they have no row in common."""
    published = load_paper(table.name)
    key = list(table.key)
    if frame.join(published.cast({name: frame.schema[name] for name in key}), on=key, how="semi").height:
        return [Panel("", beside(table, frame))]
    return [Panel("This store.", frame), Panel("Published; no row of it is in this store.", published)]


def _summary(found: Computed) -> tuple[str, ...]:
    if "confounds" in found.frames and "incremental" in found.frames:
        return tuple(summarise(found.frames["confounds"], found.frames["incremental"], found.inputs.options))
    if "incremental" in found.missing:
        return (f"This store cannot say what explains forgetting: {found.missing['incremental']}.",)
    return ("Only some tables were asked for; what explains forgetting needs `confounds` and `incremental`.",)


def _notes(inputs: Inputs) -> list[str]:
    options, rows = inputs.options, inputs.steps.frame
    sizes, methods = order_sizes(rows["size"]), order_methods(rows["method"])
    runs, scored = rows["run"].n_unique(), rows["forgetting"].count()
    return [
        f"**Read:** {_count(runs, 'run')} ({', '.join(methods)} at {', '.join(sizes)}), {_count(rows.height, 'step')}, "
        f"forgetting known at {scored}.",
        "**Signs:** `forgetting` and drops are negative where something was lost, so a signal that grows with "
        "forgetting has a negative ρ; `retention_loss` is positive where something was lost.",
        f"**Numbers:** ρ is Spearman's; intervals cover {100 * options.level:g} %; {options.resamples} resamples, "
        f"{options.permutations} shuffles, seed {options.seed}; the independent unit is the {options.cluster}. "
        "A dash stands where a number would mean nothing, for too few runs above all; the column `note` of our "
        "tables' files says why.",
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
