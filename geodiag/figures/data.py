"""What figures are drawn from: tables of a store, frames given, or the published tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from operator import attrgetter
from types import MappingProxyType
from typing import Any, TypeAlias

import polars as pl

from geodiag import paper
from geodiag.errors import GeodiagError, SettingsError
from geodiag.signals.catalog import PAIR_RELATIONS, PUBLISHED_COLUMNS
from geodiag.store import StoreReader
from geodiag.tables import ANALYSIS_TABLES, Options
from geodiag.tables.catalog import Computed
from geodiag.tables.inputs import Inputs
from geodiag.tables.intervals import OWN_INTERVALS

Fetch: TypeAlias = Callable[[str], pl.DataFrame]
Data: TypeAlias = Any
"""A store, a data frame (polars or pandas), a mapping of table names to data frames, or `Tables`."""


class NothingToDraw(GeodiagError):
    """The data at hand lacks what a figure shows; the message says what, and how to get it."""


ROW_TABLES: Mapping[str, Callable[[Inputs], pl.DataFrame]] = MappingProxyType(
    {
        "step_signals": attrgetter("step_frame"),
        "pair_signals": attrgetter("pair_frame"),
        "family_signals": attrgetter("families"),
        "layer_signals": attrgetter("layers"),
        "run_outcomes": attrgetter("outcomes"),
    }
)
"""Row-level tables of a store by name. All other names are tables of `geodiag.tables`."""
_CATALOGUE = {table.name: table for table in ANALYSIS_TABLES}
_DEFAULTS = Options()


class Tables:
    """Tables by name. It keeps none: whoever makes a table at a cost keeps it, as `Inputs` does for a store.

    Args:
        fetch: gives a table by its name, or raises `GeodiagError`.
        origin: where the numbers come from, in words.
        runs: the number of runs behind them, or what counts them; None where that is not known.
        counts: observations behind correlations of steps ("step") and of pairs ("pair"), where the tables
            themselves do not say.
    """

    origin: str
    """Where the numbers come from, in words."""

    def __init__(
        self,
        fetch: Fetch,
        *,
        origin: str,
        runs: int | Callable[[], int] | None = None,
        counts: Mapping[str, str] | None = None,
    ) -> None:
        self._fetch, self.origin, self._runs, self._counts = fetch, origin, runs, counts

    @cached_property
    def runs(self) -> int | None:
        """Runs behind the numbers; None where that is not known."""
        return self._runs() if callable(self._runs) else self._runs

    def count(self, level: str) -> str:
        """Observations behind the correlations of a level ("step" or "pair"), in all; empty if not known."""
        if self._counts is not None:
            return self._counts[level]
        rows = self.find(f"{level}_signals")
        return "" if rows is None or "forgetting" not in rows else f"at most {rows['forgetting'].count()} in all"

    def get(self, name: str) -> pl.DataFrame:
        """A table that has rows.

        Raises:
            NothingToDraw: it is not there, has no rows, or cannot be made from this data.
        """
        try:
            table = self._fetch(name)
        except GeodiagError as cause:
            # Without the table's name, so that panels that lack the same thing say it in the same words.
            raise NothingToDraw(cause.what, fix=cause.fix) from cause
        if table.is_empty():
            raise NothingToDraw(f"table {name} has no rows", where=self.origin)
        return table

    def find(self, name: str) -> pl.DataFrame | None:
        """A table, or None where it cannot be had."""
        try:
            return self.get(name)
        except NothingToDraw:
            return None


def as_tables(data: Data, *, name: str) -> Tables:
    """The tables that a caller of a figure gave.

    Args:
        data: a store, a data frame that is the table `name`, a mapping of names to frames, or `Tables`.
        name: the table that a bare frame is.

    Raises:
        SettingsError: it is none of these.
    """
    if isinstance(data, Tables):
        return data
    if isinstance(data, Mapping):
        return _given({str(key): as_frame(value) for key, value in data.items()})
    if hasattr(data, "scan") and hasattr(data, "runs"):
        return store_tables(data)
    return _given({name: as_frame(data)})


def as_frame(data: Data) -> pl.DataFrame:
    """A polars frame from a polars or pandas one.

    Raises:
        SettingsError: it is neither.
    """
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if isinstance(data, pl.DataFrame):
        return data
    if hasattr(data, "iloc"):
        return pl.from_pandas(data)
    kinds = "a store, a polars or pandas frame, or a mapping of table names to frames"
    raise SettingsError(f"cannot draw from {type(data).__name__}", fix=f"give {kinds}")


def store_tables(store: StoreReader, options: Options | None = None) -> Tables:
    """Every table that can be made from a store, with statistics by `options`."""
    inputs = Inputs(store, options or _DEFAULTS)

    def fetch(name: str) -> pl.DataFrame:
        if name in ROW_TABLES:
            return ROW_TABLES[name](inputs)
        if name in _CATALOGUE:
            return inputs.once(name, lambda: _CATALOGUE[name].compute(inputs))
        raise NothingToDraw(f"there is no table {name}", fix=f"one of: {', '.join((*ROW_TABLES, *_CATALOGUE))}")

    return Tables(fetch, origin=str(store.path), runs=lambda: store.runs().height)


def computed_tables(computed: Computed) -> Tables:
    """The tables of a store that are computed already, and its rows."""
    inputs = computed.inputs

    def fetch(name: str) -> pl.DataFrame:
        if name in ROW_TABLES:
            return ROW_TABLES[name](inputs)
        if name in computed.frames:
            return computed.frames[name]
        raise NothingToDraw(computed.missing.get(name, f"there is no table {name}"))

    return Tables(fetch, origin=str(inputs.store.path), runs=lambda: inputs.store.runs().height)


def paper_tables() -> Tables:
    """The published tables. Row-level tables are not among them: the rows were never published."""

    @cache
    def fetch(name: str) -> pl.DataFrame:
        if name not in paper.list_paper():
            reason = (
                f"the rows of {name} were never published" if name in ROW_TABLES else f"the paper has no table {name}"
            )
            raise NothingToDraw(reason, fix="draw it from a store")
        return paper.load_paper(name)

    counts = {"step": f"{paper.STEP_ROWS} in all", "pair": f"{paper.PAIR_ROWS} in all"}
    return Tables(fetch, origin=paper.SOURCE, runs=paper.RUNS, counts=counts)


def need(frame: pl.DataFrame, columns: tuple[str, ...], *, name: str) -> pl.DataFrame:
    """The frame, after a check that it has the columns.

    Raises:
        SettingsError: it lacks some.
    """
    if not set(columns) <= set(frame.columns):
        missing = [column for column in columns if column not in frame.columns]
        raise SettingsError(f"{name} lacks {', '.join(missing)}", fix=f"give {', '.join(columns)}")
    return frame


def unique(frame: pl.DataFrame, column: str) -> list[str]:
    """A column's values in order of appearance."""
    return list(dict.fromkeys(frame[column].to_list()))


def _given(frames: Mapping[str, pl.DataFrame]) -> Tables:
    def fetch(name: str) -> pl.DataFrame:
        if name not in frames:
            raise NothingToDraw(f"table {name} was not given", fix=f"given: {', '.join(sorted(frames))}")
        return frames[name]

    return Tables(fetch, origin="the frames given")


CONFOUNDS = "confounds"
STEP_BASELINE = "step"


def with_step(tables: Tables, frame: pl.DataFrame, *, target: str = "forgetting") -> pl.DataFrame:
    """Adds the step index' own correlations over all runs, where the data has them.

    Args:
        tables: the data.
        frame: correlations of signals, over all runs, with columns signal, spearman, and perhaps target, interval, n.
        target: the outcome, where no column names it.
    """
    correlations = tables.find(CONFOUNDS)
    if correlations is None or STEP_BASELINE in frame["signal"]:
        return frame
    pooled = correlations.filter(pl.col("signal") == STEP_BASELINE, pl.col("correlation") == "pooled")
    targets = list(dict.fromkeys(frame["target"])) if "target" in frame.columns else [target]
    columns = pl.DataFrame({"target": targets, "own": [PUBLISHED_COLUMNS.get(name, name) for name in targets]})
    # The interval is of the same kind as the others' in the frame.
    rows = columns.join(pooled.rename({"target": "own"}), on="own", maintain_order="left").rename(
        {"rho": "spearman", "percentile_low_paper": "ci_low", "percentile_high_paper": "ci_high"}
    )
    shared = [name for name in frame.columns if name in rows.columns]
    return pl.concat([frame, rows.select(shared)], how="diagonal_relaxed")


INTERVAL_TABLE = "intervals"
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
    intervals = _intervals(tables, level, by)
    if intervals is None:
        return frame
    key = {"group": _group(by), **(_relation() if level == "pair" else _outcome(frame, target))}
    bounds = intervals.select(*_KEY, *_BOUNDS).rename({name: f"_{name}" for name in _KEY})
    keyed = frame.drop(_BOUNDS, strict=False).with_columns(
        expression.alias(f"_{name}") for name, expression in key.items()
    )
    joined = keyed.join(bounds, on=[f"_{name}" for name in _KEY], how="left", maintain_order="left")
    return joined.drop(f"_{name}" for name in _KEY)


def with_baseline(tables: Tables, frame: pl.DataFrame, *, by: str, target: str = "") -> pl.DataFrame:
    """Adds the step index' own correlations in each group with their intervals, where the data has them.

    Args:
        tables: the data.
        frame: correlations of steps' signals, as for `with_intervals`.
        by: the grouping.
        target: the outcome, where no column names it.
    """
    intervals = _intervals(tables, "step", by)
    if intervals is None or STEP_BASELINE in frame["signal"]:
        return frame
    cells = frame.select(name for name in ("size", "method", "target") if name in frame.columns).unique(
        maintain_order=True
    )
    group, outcome = _group(by).alias("_group"), _outcome(frame, target)["target"].alias("_target")
    own = intervals.filter(pl.col("predictor") == STEP_BASELINE).select(
        "spearman", *_BOUNDS, _group="group", _target="target"
    )
    keyed = cells.with_columns(group, outcome) if cells.width else pl.select(group, outcome)
    rows = keyed.join(own, on=["_group", "_target"], maintain_order="left").drop("_group", "_target")
    return pl.concat([frame, rows.with_columns(signal=pl.lit(STEP_BASELINE))], how="diagonal_relaxed")


def _intervals(tables: Tables, level: str, by: str) -> pl.DataFrame | None:
    table = tables.find(INTERVAL_TABLE)
    return None if table is None else table.filter(pl.col("level") == level, pl.col("by") == by)


def _group(by: str) -> pl.Expr:
    return pl.lit("all") if by == "all" else pl.col("size" if by == OWN_INTERVALS else by)


def _outcome(frame: pl.DataFrame, target: str) -> dict[str, pl.Expr]:
    named = pl.col("target").replace(dict(PUBLISHED_COLUMNS)) if "target" in frame.columns else pl.lit(target)
    return {"predictor": pl.col("signal"), "target": named}


def _relation() -> dict[str, pl.Expr]:
    ends = ({name: pair[k] for name, pair in PAIR_RELATIONS.items()} for k in (0, 1))
    return {
        name: pl.col("relation").replace_strict(end, return_dtype=pl.String)
        for name, end in zip(("predictor", "target"), ends, strict=True)
    }
