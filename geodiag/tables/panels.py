"""How tables with many rows or columns stand on the page: the part to read first; the CSV has all of it."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from geodiag.tables.confounds import WAYS
from geodiag.tables.format import DASH, interval_text, number_text
from geodiag.tables.incremental import VERDICTS
from geodiag.tables.intervals import OWN_INTERVALS
from geodiag.tables.labels import in_text, table_label
from geodiag.tables.table import TablePanel

PANEL_TARGET = "forgetting"
"""The outcome on the page."""

_BY, _TO, _STEPS = pl.col("by"), pl.col("target"), pl.col("level") == "step"
_INTERVALS: tuple[tuple[str, pl.Expr, str, str], ...] = (
    ("Steps, over all runs.", _STEPS & (_BY == "all"), "predictor", "target"),
    ("Steps against forgetting, by size.", _STEPS & (_BY == "size") & (_TO == PANEL_TARGET), "group", "predictor"),
    ("Steps against forgetting, by method.", _STEPS & (_BY == "method") & (_TO == PANEL_TARGET), "group", "predictor"),
    (
        "Steps against retention loss, Seq. SFT alone, by size.",
        (_BY == OWN_INTERVALS) & (_TO == "retention_loss"),
        "group",
        "predictor",
    ),
    ("Pairs of a new and an old task: all, by size and by method.", ~_STEPS, "group", "relation"),
)
"""Captions of the panels of `intervals`, the rows of each, and what is down and across."""


def confound_panels(frame: pl.DataFrame) -> list[TablePanel]:
    """One panel with the five correlations side by side, one with our interval and p beside the paper's."""
    rows = frame.filter(pl.col("target") == PANEL_TARGET)
    cells = rows.with_columns(cell=pl.struct("rho", "low", "high").map_elements(_cell, return_dtype=pl.String))
    five = cells.pivot("correlation", index="signal", values="cell", maintain_order=True)
    names = {way.name: way.name.replace("_", "-") for way in WAYS}
    ours = ("rho", "low", "high", "p_whole_run", "p_bh", "p_holm")
    paper = ("percentile_low_paper", "percentile_high_paper", "p_free_paper")
    pooled = rows.filter(pl.col("correlation") == "pooled").select("signal", *ours, *paper, "n", "runs")
    return [
        TablePanel(
            "Forgetting, asked five ways, each with our interval.",
            five.select("signal", *names).rename(names),
            tuple((names[way.name], way.meaning) for way in WAYS),
        ),
        TablePanel(
            "The pooled correlation with our interval and whole-run p-value, adjusted for the number of tests, and "
            "beside them what the paper would report of the same rows.",
            pooled,
        ),
    ]


def incremental_panels(frame: pl.DataFrame) -> list[TablePanel]:
    """What each signal is called, and the numbers behind the last question."""
    if frame["slope_low"].count() == 0:
        counts = frame["verdict"].value_counts(sort=True)
        return [TablePanel("No signal can be tested in this store; the file says why for each.", counts)]
    columns = ("slope", "slope_low", "slope_high", "slope_p_bh", "spearman_gain", "gain_low", "gain_high", "n", "runs")
    rows = {target: frame.filter(pl.col("target") == target) for target in frame["target"].unique(maintain_order=True)}
    panels = [
        TablePanel(f"{table_label(target)}.", part.select("signal", "verdict", *columns))
        for target, part in rows.items()
    ]
    first = TablePanel("The first verdict that applies, from above, counts.", pl.DataFrame(), tuple(VERDICTS.items()))
    return [first, *panels]


def contrast_panels(frame: pl.DataFrame) -> list[TablePanel]:
    """Everything but the percentile interval."""
    columns = ("signal", "other", "rho_signal", "rho_other", "difference", "low", "high", "n", "runs")
    return [TablePanel("", frame.select(columns))]


def interval_panels(frame: pl.DataFrame) -> list[TablePanel]:
    """Over all runs every outcome; in groups of runs the outcome of the paper's figure; then pairs of tasks."""
    cells = frame.with_columns(
        cell=pl.struct(rho="spearman", low="ci_low", high="ci_high").map_elements(_cell, return_dtype=pl.String),
        relation=pl.struct("predictor", "target").map_elements(_relation, return_dtype=pl.String),
    )
    return [
        TablePanel(caption, part.pivot(across, index=down, values="cell", maintain_order=True).rename(table_label))
        for caption, chosen, down, across in _INTERVALS
        if (part := cells.filter(chosen)).height
    ]


def by_target(frame: pl.DataFrame) -> list[TablePanel]:
    """A ranking for each outcome."""
    parts = frame.partition_by("target", maintain_order=True)
    return [TablePanel(f"{table_label(str(part['target'][0]))}.", part.drop("target")) for part in parts]


def pivoted(on: str, *, values: str) -> Callable[[pl.DataFrame], list[TablePanel]]:
    """One column for each entry of `on`."""

    def panels(frame: pl.DataFrame) -> list[TablePanel]:
        index = [name for name in frame.columns if name not in (on, values)]
        wide = frame.pivot(on, index=index, values=values, maintain_order=True)
        return [TablePanel("", wide.rename({name: table_label(name) for name in wide.columns if name not in index}))]

    return panels


def _cell(row: dict[str, float | None]) -> str:
    if row["rho"] is None:
        return DASH
    bounds = interval_text(row["low"], row["high"])
    return number_text(row["rho"]) + ("" if bounds == DASH else f" {bounds}")


def _relation(row: dict[str, str]) -> str:
    return f"{table_label(row['predictor'])}, {in_text(row['target'])}"
