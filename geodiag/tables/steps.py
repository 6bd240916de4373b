"""Tables 3 to 9 and figures 10, 12, 13: correlations of step signals with outcomes, in the paper's format.

Intervals are the paper's percentile bootstrap over whole runs and p-values its free shuffle of rows, which treats the
steps of one run as independent. They are for comparison with the published numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from geodiag.signals.catalog import (
    CORE_SIGNALS,
    GAP_SIGNALS,
    GRADIENT_SIGNALS,
    HEADLINE_TARGET,
    PUBLISHED_COLUMNS,
    label,
)
from geodiag.stats import Correlation
from geodiag.tables.format import number_text
from geodiag.tables.inputs import Inputs
from geodiag.tables.options import BASELINE_METHOD
from geodiag.tables.table import AnalysisTable, pivoted

INTERVAL = {"spearman": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64}
"""Columns of an estimate with the paper's interval."""
_MAP_SIGNALS = (*CORE_SIGNALS, "min_grad_cos", "neg_grad_ratio")


def global_confidence(inputs: Inputs) -> pl.DataFrame:
    """Table 3: each signal against forgetting over all steps."""
    cells = inputs.steps.correlate(CORE_SIGNALS, [HEADLINE_TARGET], settings=inputs.options.paper).cells()
    least = inputs.options.least_runs_paper
    rows = [{"signal": c.signal, **interval_columns(c), "p_perm": free_p(c, least=least), "n": c.rows} for c in cells]
    return pl.DataFrame(rows, schema={"signal": pl.String, **INTERVAL, "p_perm": pl.Float64, "n": pl.Int64})


def grouped_confidence(by: str) -> Callable[[Inputs], pl.DataFrame]:
    """Tables 4 and 5: the same within each size, or each method."""

    def build(inputs: Inputs) -> pl.DataFrame:
        groups = inputs.steps.groups(by)
        grid = inputs.steps.correlate(CORE_SIGNALS, [HEADLINE_TARGET], groups=groups, settings=inputs.options.paper)
        rows = [{by: c.group, "signal": c.signal, **interval_columns(c)} for c in grid.cells()]
        return pl.DataFrame(rows, schema={by: pl.String, "signal": pl.String, **INTERVAL})

    return build


def geometry_or_gradient(inputs: Inputs) -> pl.DataFrame:
    """Table 7: for each outcome the closest geometry signal against the closest gradient signal."""
    targets = ("forgetting", "old_task_mean", "overall")
    columns = [target_column(target) for target in targets]
    grid = inputs.steps.correlate((*GAP_SIGNALS, *GRADIENT_SIGNALS), columns, settings=inputs.options.paper)
    rows = []
    for target, column in zip(targets, columns, strict=True):
        geometry, gradient = (
            closest([grid.cell(s, column) for s in names]) for names in (GAP_SIGNALS, GRADIENT_SIGNALS)
        )
        both = {**_side("geometry", geometry), **_side("gradient", gradient)}
        rows.append({"target": target, **both, "delta_abs": _difference(geometry, gradient)})
    sides = [f"{side}_{name}" for side in ("geometry", "gradient") for name in ("spearman", "ci_low", "ci_high")]
    schema = {"target": pl.String, "geometry_predictor": pl.String, **dict.fromkeys(sides[:3], pl.Float64)}
    schema |= {"gradient_predictor": pl.String, **dict.fromkeys(sides[3:], pl.Float64), "delta_abs": pl.Float64}
    return pl.DataFrame(rows, schema=schema)


def estimates_by_scale(inputs: Inputs) -> pl.DataFrame:
    """Table 8: the estimates of tables 3 and 4 side by side, all runs first."""
    groups = {"All": inputs.steps.groups(None)["all"], **inputs.steps.groups("size")}
    grid = inputs.steps.correlate(CORE_SIGNALS, [HEADLINE_TARGET], groups=groups, settings=inputs.options.estimates)
    return wide(list(grid.cells()), index="size", signals=CORE_SIGNALS)


def estimates_by_method(inputs: Inputs) -> pl.DataFrame:
    """Table 9: signals against forgetting within each method."""
    signals = (*CORE_SIGNALS, *GRADIENT_SIGNALS)
    groups = inputs.steps.groups("method")
    grid = inputs.steps.correlate(signals, [HEADLINE_TARGET], groups=groups, settings=inputs.options.estimates)
    return wide(list(grid.cells()), index="method", signals=signals)


def retention_by_size(inputs: Inputs) -> pl.DataFrame:
    """Figure 10: geometry signals against retention loss in the Seq. SFT runs of each size."""
    plain = inputs.steps.groups("method")[BASELINE_METHOD]
    by_size = {size: rows & plain for size, rows in inputs.steps.groups("size").items()}
    groups = {size: rows for size, rows in by_size.items() if rows.any()}
    grid = inputs.steps.correlate(GAP_SIGNALS, ["retention_loss"], groups=groups, settings=inputs.options.estimates)
    return wide(list(grid.cells()), index="size", signals=GAP_SIGNALS)


def maps_by_method(inputs: Inputs) -> pl.DataFrame:
    """Figure 12: signals against outcomes within each method."""
    targets = ("old_task_mean", "worst_drop", "forgetting", "overall")
    return _map(inputs, targets, by="method")


def step_map(inputs: Inputs) -> pl.DataFrame:
    """Figure 13: signals against outcomes over all steps."""
    return _map(inputs, ("forgetting", "old_task_mean", "worst_drop", "overall"), by=None).drop("method")


def _map(inputs: Inputs, targets: Sequence[str], *, by: str | None) -> pl.DataFrame:
    columns, groups = [target_column(target) for target in targets], inputs.steps.groups(by)
    grid = inputs.steps.correlate(_MAP_SIGNALS, columns, groups=groups, settings=inputs.options.estimates)
    names = dict(zip(columns, targets, strict=True))
    rows = [
        {"method": c.group, "signal": c.signal, "target": names[c.target], "spearman": c.estimate} for c in grid.cells()
    ]
    text = dict.fromkeys(("method", "signal", "target"), pl.String)
    return pl.DataFrame(rows, schema={**text, "spearman": pl.Float64})


def interval_columns(cell: Correlation) -> dict[str, float | None]:
    """An estimate with the paper's interval."""
    return {"spearman": cell.estimate, "ci_low": cell.percentile.low, "ci_high": cell.percentile.high}


def free_p(cell: Correlation, *, least: int) -> float | None:
    """The paper's p-value; None with fewer runs than the paper ever had."""
    return cell.free.p if cell.runs >= least else None


def wide(cells: Sequence[Correlation], *, index: str, signals: Sequence[str]) -> pl.DataFrame:
    """One row a group, one column a signal."""
    rows: dict[str, dict[str, str | float | None]] = {}
    for cell in cells:
        rows.setdefault(cell.group, {index: cell.group})[cell.signal] = cell.estimate
    return pl.DataFrame(list(rows.values()), schema={index: pl.String, **dict.fromkeys(signals, pl.Float64)})


def closest(cells: Sequence[Correlation]) -> Correlation | None:
    """The correlation of largest absolute value, or None where none is defined."""
    defined = [cell for cell in cells if cell.estimate is not None]
    return max(defined, key=lambda cell: abs(cell.estimate or 0.0), default=None)


def _side(side: str, cell: Correlation | None) -> dict[str, str | float | None]:
    if cell is None:
        return dict.fromkeys(f"{side}_{name}" for name in ("predictor", *INTERVAL))
    return {
        f"{side}_predictor": cell.signal,
        **{f"{side}_{name}": value for name, value in interval_columns(cell).items()},
    }


def _difference(first: Correlation | None, second: Correlation | None) -> float | None:
    if first is None or second is None or first.estimate is None or second.estimate is None:
        return None
    return abs(first.estimate) - abs(second.estimate)


def target_column(name: str) -> str:
    """The column of an outcome that the paper's tables name: `old_task_mean` is `old_mean`."""
    return PUBLISHED_COLUMNS.get(name, name)


def closest_signal(frame: pl.DataFrame) -> str:
    """A sentence on the strongest correlation of a table of signals or relations."""
    row = _strongest(frame)
    if row is None:
        return ""
    name = label(str(row.get("signal", row.get("relation"))))
    return f"{name} is the closest, at ρ = {number_text(row['spearman'])}."


def closest_by(by: str) -> Callable[[pl.DataFrame], str]:
    """A sentence on the strongest correlation of each group."""

    def sentence(frame: pl.DataFrame) -> str:
        rows = [_strongest(group) for group in frame.partition_by(by, maintain_order=True)]
        parts = [f"{label(str(r['signal']))} in {r[by]} ({number_text(r['spearman'])})" for r in rows if r]
        return f"The closest signals: {', '.join(parts)}." if parts else ""

    return sentence


def _strongest(frame: pl.DataFrame) -> dict[str, Any] | None:
    defined = frame.drop_nulls("spearman")
    return None if defined.is_empty() else defined.row(defined["spearman"].abs().arg_max() or 0, named=True)


STEP_TABLES: tuple[AnalysisTable, ...] = (
    AnalysisTable(
        "table03_global_step_confidence",
        "Table 3: step signals against forgetting",
        "Over all steps of all runs, which signals go with forgetting?",
        "The paper's p-value shuffles rows as if steps of one run were independent, and so finds too much; signals "
        "and forgetting drift with the step index together.",
        ("forgetting",),
        global_confidence,
        key=("signal",),
        shows=closest_signal,
    ),
    AnalysisTable(
        "table04_scale_confidence",
        "Table 4: step signals against forgetting, by model size",
        "Does the relation hold at every size?",
        "A size has a handful of runs; the paper's interval from 4 runs says little, and one from fewer is not given.",
        ("forgetting",),
        grouped_confidence("size"),
        key=("size", "signal"),
        shows=closest_by("size"),
    ),
    AnalysisTable(
        "table05_method_confidence",
        "Table 5: step signals against forgetting, by method",
        "Does the relation hold under every training method?",
        "As for table 4: few runs a method. A method that hardly forgets leaves little to explain.",
        ("forgetting",),
        grouped_confidence("method"),
        key=("method", "signal"),
        shows=closest_by("method"),
    ),
    AnalysisTable(
        "table07_geometry_vs_gradient",
        "Table 7: geometry against gradients",
        "Does the best geometry signal follow an outcome more closely than the best gradient signal?",
        "Both are picked as the best in this store, which flatters them, and the difference has no interval here; "
        "`contrasts` has one.",
        ("scores", "conflict", "gradients"),
        geometry_or_gradient,
        key=("target",),
    ),
    AnalysisTable(
        "table08_step_estimates_by_scale",
        "Table 8: the estimates of tables 3 and 4 at one glance",
        "The same correlations without their intervals.",
        "See tables 3 and 4; all that is said there holds.",
        ("forgetting",),
        estimates_by_scale,
    ),
    AnalysisTable(
        "table09_method_step_correlations",
        "Table 9: signals and gradients against forgetting, by method",
        "Which signals work under which method?",
        "Point estimates of few runs each; `intervals` has their intervals.",
        ("forgetting",),
        estimates_by_method,
        key=("method",),
    ),
    AnalysisTable(
        "fig10_seq_sft_retention_loss_correlations",
        "Figure 10: geometry against retention loss under Seq. SFT, by size",
        "Without any protection against forgetting, does geometry go with what was lost?",
        "Often a single run a size: a correlation over its steps, in which everything drifts. Retention loss is "
        "positive where something was lost, so signs are opposite to those of forgetting.",
        ("forgetting", "seq_sft"),
        retention_by_size,
        part="figure",
        key=("size",),
    ),
    AnalysisTable(
        "fig12_method_correlation_heatmaps",
        "Figure 12: signals against outcomes, by method",
        "Which signals follow which outcome under which method?",
        "Point estimates of few runs each; `intervals` has their intervals.",
        ("scores",),
        maps_by_method,
        part="figure",
        key=("method", "signal", "target"),
        panels=pivoted("target", values="spearman"),
    ),
    AnalysisTable(
        "fig13_step_explanation_heatmap",
        "Figure 13: signals against outcomes",
        "Which signals follow which outcome over all steps?",
        "Point estimates; `intervals` has their intervals, and `confounds` those at a fixed step.",
        ("scores",),
        step_map,
        part="figure",
        key=("signal", "target"),
        panels=pivoted("target", values="spearman"),
    ),
)
"""Correlations of step signals."""
