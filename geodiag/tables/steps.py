"""Correlations of step signals with outcomes, in the paper's format.

Intervals are the paper's percentile bootstrap over whole runs and p-values its free shuffle of rows, which takes steps
of one run for independent; they are here to be held against the published numbers.
"""

from __future__ import annotations

import polars as pl

from geodiag.stats import Correlation
from geodiag.tables.inputs import Inputs

CORE = ("update_norm", "active_conflict", "state_gap", "global_gap")
"""The signals of the paper's confidence tables."""
TARGET = "forgetting"
"""What they are held against."""


def global_confidence(inputs: Inputs) -> pl.DataFrame:
    """Table 3: each signal against forgetting over all steps."""
    grid = inputs.steps.correlate(CORE, [TARGET], settings=inputs.options.paper)
    least = inputs.options.least_runs_paper
    return pl.DataFrame(
        [{"signal": c.signal, **confidence(c), "p_perm": free_p(c, least=least), "n": c.rows} for c in grid.cells()],
        schema={"signal": pl.String, **_CONFIDENCE, "p_perm": pl.Float64, "n": pl.Int64},
    )


_CONFIDENCE = {"spearman": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64}


def confidence(cell: Correlation) -> dict[str, float | None]:
    """An estimate and the paper's interval."""
    return {"spearman": cell.estimate, "ci_low": cell.percentile.low, "ci_high": cell.percentile.high}


def free_p(cell: Correlation, *, least: int) -> float | None:
    """The paper's p-value; None with fewer runs than it ever had."""
    return cell.free.p if cell.runs >= least else None
