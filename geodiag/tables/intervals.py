"""The correlations that the paper's tables and figures give without an interval, with theirs.

The columns of the published tables are fixed, and many have room for an estimate alone. Here each of these correlations
stands in a row of its own, with the interval of tables 3 to 6: the run-cluster percentile bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from geodiag.stats import Correlation
from geodiag.stats.design import Bools
from geodiag.tables.inputs import ALL, Inputs, SignalRows
from geodiag.tables.labels import CORE, GRADIENT_SIGNALS
from geodiag.tables.options import BASELINE_METHOD
from geodiag.tables.steps import interval_columns

INTERVAL_PREDICTORS = (*CORE, *GRADIENT_SIGNALS, "step")
"""The signals of the paper's tables of steps, and the bare step index."""
STEP_TARGETS = ("forgetting", "retention_loss", "old_mean", "worst_drop", "overall")
"""The outcomes of its tables and figures of steps."""
PAIR_PREDICTORS, PAIR_TARGETS = ("mean_sar", "mean_conflict"), ("mean_conflict", "drop", "forgetting")
"""What its tables of pairs correlate."""
OWN_INTERVALS = "seq_sft_size"
"""The grouping into the sizes of the runs under sequential fine-tuning alone."""

_TEXT = dict.fromkeys(("level", "by", "group", "predictor", "target"), pl.String)
_NUMBERS = dict.fromkeys(("spearman", "ci_low", "ci_high"), pl.Float64)
INTERVAL_SCHEMA = {**_TEXT, **_NUMBERS, "n": pl.Int64, "runs": pl.Int64, "note": pl.String}
"""Columns of the table."""

Group = tuple[str, str]
"""A grouping ("all", "size", "method" or `OWN`), and one of its groups."""


def intervals(inputs: Inputs) -> pl.DataFrame:
    """Every correlation of the paper's tables and figures, over all runs and in groups of them.

    spearman is rho; ci_low and ci_high are its quantiles over resamples of whole runs, null with fewer runs than the
    paper ever had, and then `note` says so.
    """
    steps, pairs = inputs.steps, inputs.pairs
    rows = _correlate(inputs, "step", steps, (INTERVAL_PREDICTORS, STEP_TARGETS), _groups(steps) | _own_groups(steps))
    rows += _correlate(inputs, "pair", pairs, (PAIR_PREDICTORS, PAIR_TARGETS), _groups(pairs))
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
    """The rows of one level; no column is held against itself."""
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
