"""Predictors ranked by correlation with an outcome, and contrasts of two signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import polars as pl

from geodiag.stats import ResamplingSettings, compare
from geodiag.tables.incremental import CONTROLS
from geodiag.tables.inputs import Inputs, SignalRows
from geodiag.tables.labels import PAIR_PREDICTORS, PAPER_TARGETS, STEP_PREDICTORS, Predictor, select

CONTRAST_TARGET = "forgetting"
"""The outcome in question."""
GEOMETRY = ("active_conflict", "state_conflict", "state_gap", "global_gap", "active_sar", "state_sar")
"""The geometry signals."""
GRADIENT_CONTRAST = ("mean_grad_cos", "min_grad_cos", "neg_grad_ratio")
"""The gradient signals."""
CONTRASTS: tuple[tuple[str, str], ...] = (
    *product((*GEOMETRY, *GRADIENT_CONTRAST), CONTROLS),
    *product(("state_gap", "global_gap"), GRADIENT_CONTRAST),
)
"""Signals and what each is held against: every signal against every baseline, both gaps against gradients."""


def contrasts(inputs: Inputs) -> pl.DataFrame:
    """|rho of the signal| - |rho of the other| with forgetting, on the rows complete in both."""
    rows, names = inputs.steps, sorted({name for pair in CONTRASTS for name in pair})
    found = compare(
        rows.columns(names),
        rows.columns([CONTRAST_TARGET]),
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


def step_ranking(inputs: Inputs) -> pl.DataFrame:
    """Table 10: predictors of a step's outcomes."""
    targets = ("forgetting", "old_task_mean", "overall")
    return _rank(inputs.steps, STEP_PREDICTORS, targets, settings=inputs.options.estimates)


def pair_ranking(inputs: Inputs) -> pl.DataFrame:
    """Table 15: predictors of what happens to an old task."""
    return _rank(inputs.pairs, PAIR_PREDICTORS, ("old_task_change", "forgetting"), settings=inputs.options.estimates)


def _rank(
    rows: SignalRows, predictors: Sequence[Predictor], targets: Sequence[str], *, settings: ResamplingSettings
) -> pl.DataFrame:
    columns = [PAPER_TARGETS[target] for target in targets]
    # Labels are not names of outcomes, so that both can stand in one frame.
    frame = rows.frame.select(*columns, *select(predictors))
    named, labels = replace(rows, frame=frame), [predictor.label for predictor in predictors]
    pearson, spearman = (
        named.correlate(labels, columns, statistic=statistic, settings=settings)
        for statistic in ("pearson", "spearman")
    )
    found = [
        {
            "target": target,
            "predictor": predictor,
            "pearson": pearson.cell(predictor, column).estimate,
            "spearman": spearman.cell(predictor, column).estimate,
        }
        for target, column in zip(targets, columns, strict=True)
        for predictor in labels
    ]
    schema = {"target": pl.String, "predictor": pl.String, "pearson": pl.Float64, "spearman": pl.Float64}
    frame = pl.DataFrame(found, schema=schema)
    order = pl.col("target").replace_strict(list(targets), range(len(targets)), return_dtype=pl.Int64)
    return frame.sort(order, -pl.col("spearman").abs(), nulls_last=True, maintain_order=True)
