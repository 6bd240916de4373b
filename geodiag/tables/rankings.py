"""Predictors ranked by how closely they follow an outcome, with the baselines that a useful one must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from geodiag.stats import Settings
from geodiag.tables.inputs import Inputs
from geodiag.tables.names import PAIR_PREDICTORS, PAPER_TARGETS, STEP_PREDICTORS, Predictor, select
from geodiag.tables.rows import Rows


def step_ranking(inputs: Inputs) -> pl.DataFrame:
    """Table 10: predictors of a step's outcomes."""
    targets = ("forgetting", "old_task_mean", "overall")
    return _rank(inputs.steps, STEP_PREDICTORS, targets, settings=inputs.options.estimates)


def pair_ranking(inputs: Inputs) -> pl.DataFrame:
    """Table 15: predictors of what happens to an old task."""
    return _rank(inputs.pairs, PAIR_PREDICTORS, ("old_task_change", "forgetting"), settings=inputs.options.estimates)


def _rank(rows: Rows, predictors: Sequence[Predictor], targets: Sequence[str], *, settings: Settings) -> pl.DataFrame:
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
