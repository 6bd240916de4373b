"""Intervals of the correlations that the paper's tables and figures give without one.

The columns of the published tables are fixed, and many hold an estimate alone. Here each of these correlations is a row
with the interval of tables 3 to 6: the run-cluster percentile bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from geodiag.signals.catalog import HEADLINE_SIGNALS, HEADLINE_TARGET, label, relation_label
from geodiag.stats import Correlation
from geodiag.stats.design import Bools
from geodiag.tables.format import estimate_text
from geodiag.tables.inputs import ALL, Inputs, SignalRows
from geodiag.tables.options import BASELINE_METHOD
from geodiag.tables.steps import interval_columns
from geodiag.tables.table import AnalysisTable, TablePanel

_STEP_TARGETS = ("forgetting", "retention_loss", "old_mean", "worst_drop", "overall")
"""The outcomes of its tables and figures of steps."""
_PAIR_SIGNALS, _PAIR_TARGETS = ("mean_sar", "mean_conflict"), ("mean_conflict", "drop", "forgetting")
"""The columns that its tables of pairs correlate."""
OWN_INTERVALS = "seq_sft_size"
"""The grouping of the runs under sequential fine-tuning into sizes."""

_TEXT = dict.fromkeys(("level", "by", "group", "predictor", "target"), pl.String)
_NUMBERS = dict.fromkeys(("spearman", "ci_low", "ci_high"), pl.Float64)
INTERVAL_SCHEMA = {**_TEXT, **_NUMBERS, "n": pl.Int64, "runs": pl.Int64, "note": pl.String}
"""Columns of the table."""

Group = tuple[str, str]
"""A grouping ("all", "size", "method" or `OWN_INTERVALS`), and one of its groups."""


def intervals(inputs: Inputs) -> pl.DataFrame:
    """Every correlation of the paper's tables and figures, over all runs and in groups of them.

    spearman is rho; ci_low and ci_high are its quantiles over resamples of whole runs, null with fewer runs than the
    paper ever had, and then `note` says so.
    """
    steps, pairs = inputs.steps, inputs.pairs
    rows = _correlate(inputs, "step", steps, (HEADLINE_SIGNALS, _STEP_TARGETS), _groups(steps) | _own_groups(steps))
    rows += _correlate(inputs, "pair", pairs, (_PAIR_SIGNALS, _PAIR_TARGETS), _groups(pairs))
    return pl.DataFrame(rows, schema=INTERVAL_SCHEMA)


def _groups(rows: SignalRows) -> dict[Group, Bools]:
    masks = {("all", ALL): rows.groups(None)[ALL]}
    return masks | {(by, name): mask for by in ("size", "method") for name, mask in rows.groups(by).items()}


def _own_groups(rows: SignalRows) -> dict[Group, Bools]:
    plain = rows.groups("method").get(BASELINE_METHOD)
    if plain is None:
        return {}
    return {(OWN_INTERVALS, size): mask & plain for size, mask in rows.groups("size").items() if (mask & plain).any()}


def _correlate(
    inputs: Inputs,
    level: str,
    rows: SignalRows,
    columns: tuple[Sequence[str], Sequence[str]],
    groups: Mapping[Group, Bools],
) -> list[dict[str, object]]:
    """The rows of one level, without correlations of a column with itself."""
    named = {f"{k}": group for k, group in enumerate(groups)}
    masks = dict(zip(named, groups.values(), strict=True))
    grid = rows.correlate(*columns, settings=replace(inputs.options.paper, permutations=0), groups=masks)
    return [_row(level, named[cell.group], cell) for cell in grid.cells() if cell.signal != cell.target]


def _row(level: str, group: Group, cell: Correlation) -> dict[str, object]:
    place = dict(zip(_TEXT, (level, *group, cell.signal, cell.target), strict=True))
    return {
        **place,
        **interval_columns(cell),
        "n": cell.rows,
        "runs": cell.runs,
        "note": cell.reason or cell.percentile.reason,
    }


_BY, _TO, _STEPS = pl.col("by"), pl.col("target"), pl.col("level") == "step"
_HEADLINE = _STEPS & (_TO == HEADLINE_TARGET)
_INTERVALS: tuple[tuple[str, pl.Expr, str, str], ...] = (
    ("Steps, over all runs.", _STEPS & (_BY == "all"), "predictor", "target"),
    ("Steps against forgetting, by size.", _HEADLINE & (_BY == "size"), "group", "predictor"),
    (
        "Steps against forgetting, by method.",
        _HEADLINE & (_BY == "method"),
        "group",
        "predictor",
    ),
    (
        "Steps against retention loss, Seq. SFT alone, by size.",
        (_BY == OWN_INTERVALS) & (_TO == "retention_loss"),
        "group",
        "predictor",
    ),
    ("Pairs of a new and an old task: all, by size and by method.", ~_STEPS, "group", "relation"),
)
"""Panels of `intervals`: caption, rows, and the columns that name lines and columns of the panel."""


def interval_panels(frame: pl.DataFrame) -> list[TablePanel]:
    """Panels of steps over all runs, of groups of runs with the outcome of the paper's figure, and of pairs."""
    estimate, ends = pl.struct(rho="spearman", low="ci_low", high="ci_high"), pl.struct("predictor", "target")
    cells = frame.with_columns(
        cell=estimate.map_elements(lambda row: estimate_text(**row), return_dtype=pl.String),
        relation=ends.map_elements(lambda row: relation_label(*row.values()), return_dtype=pl.String),
    )
    return [
        TablePanel(caption, part.pivot(across, index=down, values="cell", maintain_order=True).rename(label))
        for caption, chosen, down, across in _INTERVALS
        if (part := cells.filter(chosen)).height
    ]


INTERVAL_TABLES: tuple[AnalysisTable, ...] = (
    AnalysisTable(
        "intervals",
        "Intervals of the correlations that stand without one",
        "How sure are the correlations of tables 8 to 14 and of figures 10, 12 and 13?",
        "The paper's intervals, from resampling whole runs: a little short at 20 runs, more so in a group of a few, "
        "and not given below 4. Pooled over a group, so the step index is in all of them; `confounds` takes it out.",
        ("correlations",),
        intervals,
        part="figure",
        panels=interval_panels,
    ),
)
"""Intervals of published correlations."""
