"""The step index beside the signals: what each of them must beat."""

from __future__ import annotations

import polars as pl

from geodiag.figures.data import Tables

CONFOUNDS = "confounds"
STEP = "step"
_OURS = {"old_task_mean": "old_mean"}
"""Outcomes that the published tables call otherwise."""


def with_step(tables: Tables, frame: pl.DataFrame, *, target: str = "forgetting") -> pl.DataFrame:
    """Adds the step index' own correlations over all runs, where the data has them.

    Args:
        tables: the data.
        frame: correlations of signals, over all runs, with columns signal, spearman, and perhaps target, interval, n.
        target: the outcome, where no column names it.
    """
    found = tables.find(CONFOUNDS)
    if found is None or STEP in frame["signal"]:
        return frame
    pooled = found.filter(pl.col("signal") == STEP, pl.col("correlation") == "pooled")
    targets = list(dict.fromkeys(frame["target"])) if "target" in frame.columns else [target]
    wanted = pl.DataFrame({"target": targets, "own": [_OURS.get(name, name) for name in targets]})
    # The interval is of the same kind as the others' in the frame.
    rows = wanted.join(pooled.rename({"target": "own"}), on="own", maintain_order="left").rename(
        {"rho": "spearman", "percentile_low_paper": "ci_low", "percentile_high_paper": "ci_high"}
    )
    kept = [name for name in frame.columns if name in rows.columns]
    return pl.concat([frame, rows.select(kept)], how="diagonal_relaxed")
