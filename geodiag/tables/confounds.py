"""Every signal against every outcome, asked five ways, with the intervals and tests that hold when runs differ.

Pooled correlations mix three things: what a signal says about a step, how runs differ, and that everything drifts with
the step index. The five correlations take them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from geodiag.signals import PAIR_SIGNALS, PAIR_TARGETS, SIGNALS, TARGETS, Signal
from geodiag.stats import Correlation, CorrelationGrid, ResamplingSettings, benjamini_hochberg, holm
from geodiag.tables.inputs import Inputs, SignalRows

NORMS = ("update_norm", "state_norm")
"""The controls of the norm-partial correlation."""


@dataclass(frozen=True)
class Way:
    """One way of asking."""

    name: str
    """What the table calls it."""
    statistic: str
    """The correlation, one of `geodiag.stats.STATISTICS`."""
    controls: tuple[str, ...]
    """Columns held fixed."""
    meaning: str
    """What it answers, in one line."""


WAYS: tuple[Way, ...] = (
    Way("pooled", "spearman", (), "over all rows: what the paper reports"),
    Way("within", "within", (), "ranks inside each run: does a run's signal order its own steps?"),
    Way("between", "between", (), "run means: do runs with more of the signal forget more?"),
    Way("step_partial", "step_partial", (), "at a fixed step: what is left without the step index"),
    Way("norm_partial", "spearman", NORMS, "at fixed update norm and state norm"),
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
"""Columns of both tables: ours first, then the paper's interval and p-value, marked as such."""


def step_confounds(inputs: Inputs) -> pl.DataFrame:
    """Step signals against step outcomes."""
    return _tabulate(SIGNALS, step_grids(inputs))


def pair_confounds(inputs: Inputs) -> pl.DataFrame:
    """Pair signals against what became of the old task."""
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
    """Outcome by outcome, signal by signal."""
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
    """Why something is missing, each reason once."""
    untested = "runs share it, so exchanging them tests nothing" if shared else cell.whole_run.reason
    reasons = [cell.reason] if cell.reason else [cell.jackknife.reason, untested]
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason)) or None
