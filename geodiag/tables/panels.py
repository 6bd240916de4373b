"""How tables with many columns stand on the page: the part to read first; the CSV has all of it."""

from __future__ import annotations

import polars as pl

from geodiag.tables.confounds import WAYS
from geodiag.tables.format import DASH, interval, number
from geodiag.tables.incremental import VERDICTS
from geodiag.tables.table import Panel

TARGET = "forgetting"
"""The outcome on the page."""


def confound_panels(frame: pl.DataFrame) -> list[Panel]:
    """One panel with the five correlations side by side, one with our interval and p beside the paper's."""
    rows = frame.filter(pl.col("target") == TARGET)
    cells = rows.with_columns(cell=pl.struct("rho", "low", "high").map_elements(_cell, return_dtype=pl.String))
    five = cells.pivot("correlation", index="signal", values="cell", maintain_order=True)
    five = five.select("signal", *(way.name for way in WAYS)).rename({w.name: w.name.replace("_", "-") for w in WAYS})
    pooled = rows.filter(pl.col("correlation") == "pooled")
    ours = ("rho", "low", "high", "p_whole_run", "p_bh", "p_holm")
    paper = ("percentile_low_paper", "percentile_high_paper", "p_free_paper")
    told = "; ".join(f"**{way.name.replace('_', '-')}** {way.meaning}" for way in WAYS)
    return [
        Panel(f"Forgetting, asked five ways, each with our interval: {told}.", five),
        Panel(
            "The pooled correlation with our interval and whole-run p-value, adjusted for the number of tests, and "
            "beside them what the paper would report of the same rows.",
            pooled.select("signal", *ours, *paper, "n", "runs"),
        ),
    ]


def incremental_panels(frame: pl.DataFrame) -> list[Panel]:
    """What each signal is called, and the numbers behind the last question."""
    meanings = "; ".join(f"*{verdict}*: {meaning}" for verdict, meaning in VERDICTS.items())
    columns = ("slope", "slope_low", "slope_high", "slope_p_bh", "spearman_gain", "gain_low", "gain_high", "n", "runs")
    captions = {
        TARGET: f"Forgetting. The first verdict that applies counts. {meanings}.",
        "worst_drop": "Worst drop of a step.",
    }
    return [
        Panel(caption, frame.filter(pl.col("target") == target).select("signal", "verdict", *columns))
        for target, caption in captions.items()
    ]


def contrast_panels(frame: pl.DataFrame) -> list[Panel]:
    """Everything but the percentile interval."""
    columns = ("signal", "other", "rho_signal", "rho_other", "difference", "low", "high", "n", "runs")
    return [Panel("", frame.select(columns))]


def _cell(row: dict[str, float | None]) -> str:
    if row["rho"] is None:
        return DASH
    bounds = interval(row["low"], row["high"])
    return number(row["rho"]) + ("" if bounds == DASH else f" {bounds}")
