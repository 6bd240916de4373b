"""Correlations of every signal with every outcome, computed five ways, with intervals and tests that hold over runs.

A pooled correlation mixes three things: the signal of a step, differences between runs, and a drift of everything with
the step index. The five correlations separate them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from geodiag.signals import PAIR_SIGNALS, PAIR_TARGETS, SIGNALS, TARGETS, Signal
from geodiag.signals.catalog import HEADLINE_TARGET
from geodiag.stats import Correlation, CorrelationGrid, ResamplingSettings, benjamini_hochberg, holm
from geodiag.tables.format import estimate_text
from geodiag.tables.inputs import Inputs, SignalRows
from geodiag.tables.table import AnalysisTable, TablePanel

NORMS = ("update_norm", "state_norm")
"""The controls of the norm-partial correlation."""


@dataclass(frozen=True)
class Way:
    """A correlation of a signal with an outcome."""

    name: str
    """Its name in the table."""
    label: str
    """Its label."""
    statistic: str
    """The correlation, one of `geodiag.stats.STATISTICS`."""
    controls: tuple[str, ...]
    """Columns held fixed."""
    meaning: str
    """The question it answers, in one line."""


WAYS: tuple[Way, ...] = (
    Way("pooled", "Pooled", "spearman", (), "over all rows: what the paper reports"),
    Way("within", "Within runs", "within", (), "ranks inside each run: does a run's signal order its own steps?"),
    Way("between", "Between runs", "between", (), "run means: do runs with more of the signal forget more?"),
    Way("step_partial", "At a fixed step", "step_partial", (), "at a fixed step: what is left without the step index"),
    Way("norm_partial", "At fixed norms", "spearman", NORMS, "at fixed update norm and state norm"),
)
"""The five correlations."""

_TEXT = dict.fromkeys(("signal", "kind", "target", "correlation"), pl.String)
_NUMBERS = ("rho", "low", "high", "p_whole_run", "p_bh", "p_holm")
_PAPER = ("percentile_low_paper", "percentile_high_paper", "p_free_paper")
CONFOUND_SCHEMA: dict[str, type[pl.DataType]] = {
    **_TEXT,
    **dict.fromkeys((*_NUMBERS, *_PAPER), pl.Float64),
    "n": pl.Int64,
    "runs": pl.Int64,
    "note": pl.String,
}
"""Columns of both tables: ours first, then the paper's interval and p-value, whose names end in `paper`."""


def step_confounds(inputs: Inputs) -> pl.DataFrame:
    """Step signals against step outcomes."""
    return _tabulate(SIGNALS, step_grids(inputs))


def pair_confounds(inputs: Inputs) -> pl.DataFrame:
    """Pair signals against outcomes of the old task."""
    return _tabulate(PAIR_SIGNALS, _grids(inputs.pairs, PAIR_SIGNALS, PAIR_TARGETS, settings=inputs.options.ours))


def step_grids(inputs: Inputs) -> dict[str, CorrelationGrid]:
    """The five correlations of step signals with outcomes, computed once."""
    return inputs.once("step_grids", lambda: _grids(inputs.steps, SIGNALS, TARGETS, settings=inputs.options.ours))


def _grids(
    rows: SignalRows, signals: Sequence[Signal], targets: Sequence[Signal], *, settings: ResamplingSettings
) -> dict[str, CorrelationGrid]:
    names = [signal.name for signal in signals], [target.name for target in targets]
    return {
        way.name: rows.correlate(*names, settings=settings, statistic=way.statistic, controls=way.controls)
        for way in WAYS
    }


def _tabulate(signals: Sequence[Signal], grids: dict[str, CorrelationGrid]) -> pl.DataFrame:
    kinds = {signal.name: signal.kind for signal in signals}
    rows = [_row(cell, kind=kinds[cell.signal], way=name) for name, grid in grids.items() for cell in grid.cells()]
    parts = pl.DataFrame(rows, schema=CONFOUND_SCHEMA).partition_by("correlation", maintain_order=True)
    frame = pl.concat([_adjust(part) for part in parts])
    order = {cell: at for at, cell in enumerate(_order(grids))}
    place = pl.struct("target", "signal", "correlation").map_elements(
        lambda row: order[row["target"], row["signal"], row["correlation"]], return_dtype=pl.Int64
    )
    return frame.sort(place)


def _adjust(part: pl.DataFrame) -> pl.DataFrame:
    """P-values adjusted for all tests of one correlation."""
    p = part["p_whole_run"].fill_null(float("nan")).to_numpy()
    adjusted = {"p_bh": benjamini_hochberg(p), "p_holm": holm(p)}
    return part.with_columns(pl.Series(name, values).fill_nan(None) for name, values in adjusted.items())


def _order(grids: dict[str, CorrelationGrid]) -> list[tuple[str, str, str]]:
    """The order of the rows: by outcome, then signal, then correlation."""
    first = next(iter(grids.values()))
    return [(target, signal, way) for target in first.targets for signal in first.signals for way in grids]


def _shared(kind: str, way: str) -> bool:
    """Whether all runs share the signal at each place, so that exchanging runs tests nothing."""
    return kind == "baseline" and way != "between"


def _row(cell: Correlation, *, kind: str, way: str) -> dict[str, object]:
    return {
        "signal": cell.signal,
        "kind": kind,
        "target": cell.target,
        "correlation": way,
        "rho": cell.estimate,
        "low": cell.jackknife.low,
        "high": cell.jackknife.high,
        "p_whole_run": None if _shared(kind, way) else cell.whole_run.p,
        "percentile_low_paper": cell.percentile.low,
        "percentile_high_paper": cell.percentile.high,
        "p_free_paper": cell.free.p,
        "n": cell.rows,
        "runs": cell.runs,
        "note": _note(cell, shared=_shared(kind, way)),
    }


def _note(cell: Correlation, *, shared: bool) -> str | None:
    """The reasons for missing numbers, each once."""
    untested = "runs share it, so exchanging them tests nothing" if shared else cell.whole_run.reason
    reasons = [cell.reason] if cell.reason else [cell.jackknife.reason, untested]
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason)) or None


def confound_panels(frame: pl.DataFrame) -> list[TablePanel]:
    """A panel of the five correlations, and one of our interval and p-values with the paper's."""
    rows = frame.filter(pl.col("target") == HEADLINE_TARGET)
    text = pl.struct("rho", "low", "high").map_elements(lambda row: estimate_text(**row), return_dtype=pl.String)
    cells = rows.with_columns(cell=text)
    five = cells.pivot("correlation", index="signal", values="cell", maintain_order=True)
    names = {way.name: way.label for way in WAYS}
    ours = ("rho", "low", "high", "p_whole_run", "p_bh", "p_holm")
    paper = ("percentile_low_paper", "percentile_high_paper", "p_free_paper")
    pooled = rows.filter(pl.col("correlation") == "pooled").select("signal", *ours, *paper, "n", "runs")
    return [
        TablePanel(
            "Forgetting, asked five ways, each with our interval.",
            five.select("signal", *names).rename(names),
            tuple((names[way.name], way.meaning) for way in WAYS),
        ),
        TablePanel(
            "The pooled correlation with our interval and whole-run p-value, adjusted for the number of tests, and "
            "beside them what the paper would report of the same rows.",
            pooled,
        ),
    ]


def confounded(frame: pl.DataFrame) -> str:
    """A sentence on the signals with a clear correlation over all rows, at a fixed step and inside runs."""
    rows = frame.filter(pl.col("target") == HEADLINE_TARGET, pl.col("kind") != "baseline")
    clear = rows.filter((pl.col("low") > 0) | (pl.col("high") < 0))["correlation"].to_list()
    if rows["low"].count() == 0:
        return ""
    pooled = rows.filter(pl.col("correlation") == "pooled")["rho"].count()
    return (
        f"Of {pooled} signals measured, {clear.count('pooled')} have an interval that leaves out 0 when all rows are "
        f"pooled, {clear.count('step_partial')} at a fixed step and {clear.count('within')} inside runs."
    )


CONFOUND_TABLES: tuple[AnalysisTable, ...] = (
    AnalysisTable(
        "confounds",
        "Every signal against every outcome, five ways",
        "How much of a pooled correlation is the step index, the size of the updates, or a difference between runs?",
        "Norm sums and norms, global and plain conflict are nearly the same signal, so their rows are not separate "
        "findings; adjusted p-values count the tests of one correlation over all signals and outcomes.",
        ("scores",),
        step_confounds,
        part="ours",
        shows=confounded,
        panels=confound_panels,
    ),
    AnalysisTable(
        "confounds_pairs",
        "Every pair signal against what became of the old task, five ways",
        "Do updates that conflict with an old task's harm that task more than others?",
        "Pairs of one step share the new task and pairs of one old task share its past; only runs count as "
        "independent. Runs stand opposite each other by step and by how long ago the old task was trained.",
        ("forgetting", "pairs"),
        pair_confounds,
        part="ours",
        shows=confounded,
        panels=confound_panels,
    ),
)
"""Every signal against every outcome."""
