"""Intervals beside correlations whose own table has none.

The published tables have fixed columns. For a store, the table `intervals` has the rest; the published numbers and
frames that a caller gives stay as they are.
"""

from __future__ import annotations

import polars as pl

from geodiag.figures.baseline import STEP
from geodiag.figures.data import Tables
from geodiag.tables.intervals import OWN
from geodiag.tables.names import PAPER_TARGETS
from geodiag.tables.pairs import GROUPED

INTERVALS = "intervals"
_KEY = ("group", "predictor", "target")
_BOUNDS = ("ci_low", "ci_high", "note")


def with_intervals(tables: Tables, frame: pl.DataFrame, *, level: str, by: str, target: str = "") -> pl.DataFrame:
    """Adds ci_low, ci_high and note (why there is no interval), where the data has them.

    Args:
        tables: the data.
        frame: one row a correlation: its group in a column `by` ("size" for `OWN`), then `signal` and perhaps
            `target`, or `relation`.
        level: "step" or "pair".
        by: the grouping, as `intervals` names it.
        target: the outcome of steps, where no column names it.
    """
    found = _rows(tables, level, by)
    if found is None:
        return frame
    key = {"group": _group(by), **(_relation() if level == "pair" else _outcome(frame, target))}
    known = found.select(*_KEY, *_BOUNDS).rename({name: f"_{name}" for name in _KEY})
    keyed = frame.drop(_BOUNDS, strict=False).with_columns(
        expression.alias(f"_{name}") for name, expression in key.items()
    )
    joined = keyed.join(known, on=[f"_{name}" for name in _KEY], how="left", maintain_order="left")
    return joined.drop(f"_{name}" for name in _KEY)


def with_baseline(tables: Tables, frame: pl.DataFrame, *, by: str, target: str = "") -> pl.DataFrame:
    """Adds the step index' own correlations in each group with their intervals, where the data has them.

    Args:
        tables: the data.
        frame: correlations of steps' signals, as for `with_intervals`.
        by: the grouping.
        target: the outcome, where no column names it.
    """
    found = _rows(tables, "step", by)
    if found is None or STEP in frame["signal"]:
        return frame
    cells = frame.select(name for name in ("size", "method", "target") if name in frame.columns).unique(
        maintain_order=True
    )
    group, outcome = _group(by).alias("_group"), _outcome(frame, target)["target"].alias("_target")
    own = found.filter(pl.col("predictor") == STEP).select("spearman", *_BOUNDS, _group="group", _target="target")
    wanted = cells.with_columns(group, outcome) if cells.width else pl.select(group, outcome)
    rows = wanted.join(own, on=["_group", "_target"], maintain_order="left").drop("_group", "_target")
    return pl.concat([frame, rows.with_columns(signal=pl.lit(STEP))], how="diagonal_relaxed")


def _rows(tables: Tables, level: str, by: str) -> pl.DataFrame | None:
    found = tables.find(INTERVALS)
    return None if found is None else found.filter(pl.col("level") == level, pl.col("by") == by)


def _group(by: str) -> pl.Expr:
    return pl.lit("all") if by == "all" else pl.col("size" if by == OWN else by)


def _outcome(frame: pl.DataFrame, target: str) -> dict[str, pl.Expr]:
    named = pl.col("target").replace(dict(PAPER_TARGETS)) if "target" in frame.columns else pl.lit(target)
    return {"predictor": pl.col("signal"), "target": named}


def _relation() -> dict[str, pl.Expr]:
    ends = ({name: pair[k] for name, pair in GROUPED.items()} for k in (0, 1))
    return {
        name: pl.col("relation").replace_strict(end, return_dtype=pl.String)
        for name, end in zip(("predictor", "target"), ends, strict=True)
    }
