"""Tables 10 and 15: predictors ranked by their correlation with an outcome; and contrasts of two signals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import polars as pl

from geodiag.signals.catalog import HEADLINE_TARGET, in_text, label
from geodiag.stats import ResamplingSettings, compare
from geodiag.tables.format import DASH, interval_text, number_text
from geodiag.tables.incremental import CONTROLS
from geodiag.tables.inputs import Inputs, SignalRows
from geodiag.tables.steps import target_column
from geodiag.tables.table import AnalysisTable, TablePanel


@dataclass(frozen=True)
class Predictor:
    """A row of a ranking."""

    label: str
    """Its name in the ranking, which is the paper's where the paper has one."""
    column: str
    """Its column."""
    clipped: bool = False
    """Whether its values are clipped to 0..1 first."""

    @property
    def values(self) -> pl.Expr:
        """Its values, named by its label."""
        value = pl.col(self.column)
        return (value.clip(0, 1) if self.clipped else value).alias(self.label)


STEP_PREDICTORS: tuple[Predictor, ...] = (
    Predictor("Merged norm", "state_norm_sum"),
    Predictor("Merged norm (Euclidean)", "state_norm"),
    Predictor("Update norm", "update_norm"),
    Predictor("Update norm (sum)", "update_norm_sum"),
    Predictor("Step index", "step"),
    Predictor("State gap", "state_gap"),
    Predictor("Global gap", "global_gap"),
    Predictor("Active GC", "active_conflict"),
    Predictor("State GC", "state_conflict"),
    Predictor("Global active GC", "global_active_conflict"),
    Predictor("Global state GC", "global_state_conflict"),
    Predictor("Active SAR", "active_sar"),
    Predictor("Active SAR (clip)", "active_sar", clipped=True),
    Predictor("State SAR", "state_sar"),
    Predictor("Mean grad cos", "mean_grad_cos"),
    Predictor("Min grad cos", "min_grad_cos"),
    Predictor("Neg-grad ratio", "neg_grad_ratio"),
)
"""Predictors of a step's outcomes, norms and the bare step index among them."""

PAIR_PREDICTORS: tuple[Predictor, ...] = (
    Predictor("GC", "mean_conflict"),
    Predictor("Max GC", "max_conflict"),
    Predictor("Mean SAR", "mean_sar"),
    Predictor("Mean SAR (clip)", "mean_sar", clipped=True),
    Predictor("Max SAR", "max_sar"),
    Predictor("Mean grad cos", "mean_grad_cos"),
    Predictor("Min grad cos", "min_grad_cos"),
    Predictor("Neg-grad ratio", "neg_grad_ratio"),
    Predictor("Steps since", "age"),
    Predictor("Step index", "step"),
    Predictor("Update norm", "update_norm"),
    Predictor("Merged norm (Euclidean)", "state_norm"),
)
"""Predictors of an old task's change: pair signals, the old task's age, the step index and the step's norms."""

CONTRAST_GEOMETRY = ("active_conflict", "state_conflict", "state_gap", "global_gap", "active_sar", "state_sar")
"""The geometry signals."""
CONTRAST_GRADIENTS = ("mean_grad_cos", "min_grad_cos", "neg_grad_ratio")
"""The gradient signals."""
CONTRASTS: tuple[tuple[str, str], ...] = (
    *product((*CONTRAST_GEOMETRY, *CONTRAST_GRADIENTS), CONTROLS),
    *product(("state_gap", "global_gap"), CONTRAST_GRADIENTS),
)
"""Pairs of signals that are compared: every signal with every baseline, both gaps with the gradients."""


def contrasts(inputs: Inputs) -> pl.DataFrame:
    """|rho of the signal| - |rho of the other| with forgetting, on the rows complete in both."""
    rows, names = inputs.steps, sorted({name for pair in CONTRASTS for name in pair})
    result = compare(
        rows.columns(names),
        rows.columns([HEADLINE_TARGET]),
        rows.design,
        pairs=[(names.index(signal), names.index(other)) for signal, other in CONTRASTS],
        settings=inputs.options.ours,
        rng=rows.seed,
    )
    measured = {
        "rho_signal": result.first,
        "rho_other": result.second,
        "difference": result.difference,
        "low": result.low,
        "high": result.high,
        "percentile_low": result.percentile_low,
        "percentile_high": result.percentile_high,
    }
    frame = pl.DataFrame(
        {
            "signal": [signal for signal, _ in CONTRASTS],
            "other": [other for _, other in CONTRASTS],
            **{name: values[0, :, 0] for name, values in measured.items()},
            "n": result.rows[0, :, 0],
            "runs": result.runs[0, :, 0],
            "note": pl.Series(result.interval_reason[0, :, 0].tolist(), dtype=pl.String),
        }
    )
    return frame.with_columns(pl.col(*measured).fill_nan(None), pl.col("n", "runs").cast(pl.Int64))


def step_ranking(inputs: Inputs) -> pl.DataFrame:
    """Table 10: predictors of a step's outcomes, by the size of their correlation."""
    targets = ("forgetting", "old_task_mean", "overall")
    return _rank(inputs.steps, STEP_PREDICTORS, targets, settings=inputs.options.estimates)


def pair_ranking(inputs: Inputs) -> pl.DataFrame:
    """Table 15: predictors of an old task's change, by the size of their correlation."""
    return _rank(inputs.pairs, PAIR_PREDICTORS, ("old_task_change", "forgetting"), settings=inputs.options.estimates)


def _rank(
    rows: SignalRows, predictors: Sequence[Predictor], targets: Sequence[str], *, settings: ResamplingSettings
) -> pl.DataFrame:
    columns = [target_column(target) for target in targets]
    # Labels of predictors differ from the columns of outcomes, so one frame holds both.
    frame = rows.frame.select(*columns, *(predictor.values for predictor in predictors))
    named, labels = replace(rows, frame=frame), [predictor.label for predictor in predictors]
    pearson, spearman = (
        named.correlate(labels, columns, statistic=statistic, settings=settings)
        for statistic in ("pearson", "spearman")
    )
    ranked = [
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
    frame = pl.DataFrame(ranked, schema=schema)
    order = pl.col("target").replace_strict(list(targets), range(len(targets)), return_dtype=pl.Int64)
    return frame.sort(order, -pl.col("spearman").abs(), nulls_last=True, maintain_order=True)


def rank_of(baseline: str) -> Callable[[pl.DataFrame], str]:
    """A sentence on the rank of a baseline for each outcome."""

    def sentence(frame: pl.DataFrame) -> str:
        ranks = []
        for group in frame.drop_nulls("spearman").partition_by("target", maintain_order=True):
            names = group["predictor"].to_list()
            if baseline in names:
                ranks.append(f"{names.index(baseline) + 1} of {len(names)} for {in_text(str(group['target'][0]))}")
        return f"{baseline}, with no look at the weights, ranks {', '.join(ranks)}." if ranks else ""

    return sentence


def gap_against_step(frame: pl.DataFrame) -> str:
    """A sentence on the global gap and the step index."""
    row = frame.row(by_predicate=(pl.col("signal") == "global_gap") & (pl.col("other") == "step"), named=True)
    if row["difference"] is None:
        return ""
    bounds = interval_text(row["low"], row["high"])
    return (
        f"|ρ| of the global gap minus |ρ| of the step index is {number_text(row['difference'])}"
        f"{' ' + bounds if bounds != DASH else ''}."
    )


def by_target(frame: pl.DataFrame) -> list[TablePanel]:
    """A panel for each outcome."""
    parts = frame.partition_by("target", maintain_order=True)
    return [TablePanel(f"{label(str(part['target'][0]))}.", part.drop("target")) for part in parts]


def contrast_panels(frame: pl.DataFrame) -> list[TablePanel]:
    """The table without the percentile interval."""
    columns = ("signal", "other", "rho_signal", "rho_other", "difference", "low", "high", "n", "runs")
    return [TablePanel("", frame.select(columns))]


RANKING_TABLES: tuple[AnalysisTable, ...] = (
    AnalysisTable(
        "contrasts",
        "Which of two signals follows forgetting more closely",
        "Does geometry beat the bare step index, the norms and the gradients?",
        "The larger of two correlations is no proof: only an interval that leaves out 0 is. Near ρ = 0 the absolute "
        "value bends and intervals are too wide.",
        ("forgetting",),
        contrasts,
        part="ours",
        shows=gap_against_step,
        panels=contrast_panels,
    ),
    AnalysisTable(
        "table10_step_predictor_ranking",
        "Table 10: step predictors ranked",
        "Which predictor follows an outcome most closely, and does it beat the bare step index and the norms?",
        "A rank is not a test; neighbours in the list cannot be told apart. The paper's merged norm is the state norm "
        "(sum), which adds up the layers' norms as the released code does, its update norm is Euclidean; both forms of "
        "both are listed. SAR lies in 0..1 here, so clipping changes nothing.",
        ("scores",),
        step_ranking,
        key=("target", "predictor"),
        shows=rank_of("Step index"),
        panels=by_target,
    ),
    AnalysisTable(
        "table15_pair_predictor_ranking",
        "Table 15: pair predictors ranked",
        "Which predictor follows an old task's fate most closely, and does it beat the task's age and the norms?",
        "A rank is not a test. The step's norms are the same for all pairs of a step.",
        ("forgetting", "pairs"),
        pair_ranking,
        key=("target", "predictor"),
        shows=rank_of("Steps since"),
        panels=by_target,
    ),
)
"""Rankings of predictors, and contrasts of signals."""
