"""Which of two signals follows forgetting more closely: the paper's claims as differences with intervals."""

from __future__ import annotations

from itertools import product

import polars as pl

from geodiag.stats import compare
from geodiag.tables.incremental import CONTROLS
from geodiag.tables.inputs import Inputs

TARGET = "forgetting"
"""The outcome in question."""
GEOMETRY = ("active_conflict", "state_conflict", "state_gap", "global_gap", "active_sar", "state_sar")
"""The geometry signals."""
GRADIENT = ("mean_grad_cos", "min_grad_cos", "neg_grad_ratio")
"""The gradient signals."""
CONTRASTS: tuple[tuple[str, str], ...] = (
    *product((*GEOMETRY, *GRADIENT), CONTROLS),
    *product(("state_gap", "global_gap"), GRADIENT),
)
"""Signals and what each is held against: every signal against every baseline, both gaps against gradients."""


def contrasts(inputs: Inputs) -> pl.DataFrame:
    """|rho of the signal| - |rho of the other| with forgetting, on the rows complete in both."""
    rows, names = inputs.steps, sorted({name for pair in CONTRASTS for name in pair})
    found = compare(
        rows.columns(names),
        rows.columns([TARGET]),
        rows.design,
        pairs=[(names.index(signal), names.index(other)) for signal, other in CONTRASTS],
        settings=inputs.options.ours,
        rng=rows.seed,
    )
    measured = {
        "rho_signal": found.first,
        "rho_other": found.second,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "percentile_low": found.percentile_low,
        "percentile_high": found.percentile_high,
    }
    frame = pl.DataFrame(
        {
            "signal": [signal for signal, _ in CONTRASTS],
            "other": [other for _, other in CONTRASTS],
            **{name: values[0, :, 0] for name, values in measured.items()},
            "n": found.rows[0, :, 0],
            "runs": found.runs[0, :, 0],
            "note": pl.Series(found.interval_reason[0, :, 0].tolist(), dtype=pl.String),
        }
    )
    return frame.with_columns(pl.col(*measured).fill_nan(None), pl.col("n", "runs").cast(pl.Int64))
