"""Correlations of step signals with outcomes, in the paper's format.

Intervals are the paper's percentile bootstrap over whole runs and p-values its free shuffle of rows, which takes the
steps of one run for independent. They are here to be held against the published numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from geodiag.stats import Correlation
from geodiag.tables.inputs import Inputs
from geodiag.tables.labels import CORE, GAP_SIGNALS, GRADIENT_SIGNALS, PAPER_TARGETS
from geodiag.tables.options import BASELINE_METHOD

INTERVAL = {"spearman": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64}
"""Columns of an estimate with the paper's interval."""
_MAP_SIGNALS = (*CORE, "min_grad_cos", "neg_grad_ratio")


def global_confidence(inputs: Inputs) -> pl.DataFrame:
    """Table 3: each signal against forgetting over all steps."""
    cells = inputs.steps.correlate(CORE, ["forgetting"], settings=inputs.options.paper).cells()
    least = inputs.options.least_runs_paper
    rows = [{"signal": c.signal, **interval_columns(c), "p_perm": free_p(c, least=least), "n": c.rows} for c in cells]
    return pl.DataFrame(rows, schema={"signal": pl.String, **INTERVAL, "p_perm": pl.Float64, "n": pl.Int64})


def grouped_confidence(by: str) -> Callable[[Inputs], pl.DataFrame]:
    """Tables 4 and 5: the same within each size, or each method."""

    def build(inputs: Inputs) -> pl.DataFrame:
        groups = inputs.steps.groups(by)
        grid = inputs.steps.correlate(CORE, ["forgetting"], groups=groups, settings=inputs.options.paper)
        rows = [{by: c.group, "signal": c.signal, **interval_columns(c)} for c in grid.cells()]
        return pl.DataFrame(rows, schema={by: pl.String, "signal": pl.String, **INTERVAL})

    return build


def geometry_or_gradient(inputs: Inputs) -> pl.DataFrame:
    """Table 7: for each outcome the closest geometry signal against the closest gradient signal."""
    targets = ("forgetting", "old_task_mean", "overall")
    columns = [PAPER_TARGETS[target] for target in targets]
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
    grid = inputs.steps.correlate(CORE, ["forgetting"], groups=groups, settings=inputs.options.estimates)
    return wide(list(grid.cells()), index="size", signals=CORE)


def estimates_by_method(inputs: Inputs) -> pl.DataFrame:
    """Table 9: signals against forgetting within each method."""
    signals = (*CORE, *GRADIENT_SIGNALS)
    groups = inputs.steps.groups("method")
    grid = inputs.steps.correlate(signals, ["forgetting"], groups=groups, settings=inputs.options.estimates)
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
    columns, groups = [PAPER_TARGETS[target] for target in targets], inputs.steps.groups(by)
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
    """The correlation of largest size, or None where none is defined."""
    known = [cell for cell in cells if cell.estimate is not None]
    return max(known, key=lambda cell: abs(cell.estimate or 0.0), default=None)


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
