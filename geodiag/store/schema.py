"""The store's tables as data, and the check of a frame against its table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import polars as pl

from geodiag.common.schema import BLOCK, F64, FAMILY, I32, I64, LAYER, RUN, STEP, STR, UTC_TIME, Column, Table
from geodiag.errors import StoreError
from geodiag.extraction.measurements import MEASUREMENTS, Measurement

SCHEMA_VERSION = 1
"""Raised when a store written by this version can no longer be read by an older one."""

_RUNS = (
    RUN,
    Column("size", STR, "the model size label"),
    Column("method", STR, "the training method's label"),
    Column("seed", I64, "the random seed, where runs differ by it", nullable=True),
    Column("n_steps", I32, "how many steps the run has", "count"),
    Column("n_layers", I32, "how many layers were compared", "count"),
    Column("base", STR, "the base checkpoint, as a path or address"),
    Column("config", STR, "every setting used, as one JSON object"),
    Column("geodiag_version", STR, "the version of this package that wrote the run"),
    Column("created", UTC_TIME, "when the run was written", "UTC"),
)

_ACTIVE = (
    RUN,
    STEP,
    Column("object", STR, "`task:<name>`, or `state` for the previous state kept as an anchor"),
    Column("role", STR, "what the object is", "task or state"),
    Column("task", STR, "the task's folded name; null for a state", nullable=True),
)

_SCORES = (
    RUN,
    Column("step", I32, "the step scored; 0 is the base", "0..T"),
    Column("task", STR, "the task's folded name; `overall` is the overall score"),
    Column("score", F64, "the score as a fraction", "0..1"),
    Column("stderr", F64, "its standard error", ">= 0", nullable=True),
    Column("n", I64, "how many examples it was measured on", "count", nullable=True),
)

_MERGES = (
    RUN,
    STEP,
    LAYER,
    BLOCK,
    FAMILY,
    Column("active", I32, "updates merged: those of the active set that are not zero", "count"),
    Column("new_norm", F64, "||D_t||_F of the new task's update", ">= 0"),
    Column("merged_norm", F64, "||D_merge,t||_F of what the rule made of the active updates", ">= 0"),
    Column("state_norm", F64, "||theta_t - theta_base||_F before it was stored", ">= 0"),
    Column("conflict", F64, "g, the weighted mean geometry conflict that the gate saw", "0..1", nullable=True),
    Column("alpha", F64, "the share of the geometric merge by the gate's formula", "0..1", nullable=True),
    Column("share", F64, "the share that it had, 0 or 1 where alpha is that near", "0..1", nullable=True),
    Column("union_rank", I32, "columns of the union basis of the active updates", "count", nullable=True),
    Column("metric_trace", F64, "trace of the shared metric in the union basis", ">= 0", nullable=True),
    Column("metric_iterations", I32, "fixed-point steps of the barycenter", "count", nullable=True),
    Column("metric_residual", F64, "how far they were from the fixed point in the end", ">= 0", nullable=True),
    Column("products", I32, "matrix products of WUDI's iterations that were multiplied out", "count", nullable=True),
    Column("gradient_error", F64, "largest error of a predicted gradient, as a share", ">= 0", nullable=True),
)

_BEFORE_MEASUREMENTS = (
    Table("runs", "one run: a base model and its sequence of steps", ("run",), _RUNS),
    Table("active", "one object of a step's active set", ("run", "step", "object"), _ACTIVE),
)
_AFTER_MEASUREMENTS = (
    Table("scores", "one task's score after one step", ("run", "step", "task"), _SCORES),
    Table("merges", "one step of a merge in one layer", ("run", "step", "layer"), _MERGES),
)
CORE_TABLES = (*_BEFORE_MEASUREMENTS, *_AFTER_MEASUREMENTS)
"""The tables of a run itself; every other table belongs to a measurement."""


class _Tables(Mapping[str, Table]):
    """The tables of a run itself, and those of every measurement in the list as it stands."""

    _measurements: tuple[Measurement, ...] = ()
    _by_name: Mapping[str, Table] = MappingProxyType({})

    def _current(self) -> Mapping[str, Table]:
        if self._measurements != (listed := tuple(MEASUREMENTS)):
            measured = [table for measurement in listed for table in measurement.tables]
            tables = [*_BEFORE_MEASUREMENTS, *measured, *_AFTER_MEASUREMENTS]
            self._measurements, self._by_name = listed, {table.name: table for table in tables}
        return self._by_name

    def __getitem__(self, name: str) -> Table:
        return self._current()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._current())

    def __len__(self) -> int:
        return len(self._current())


TABLES: Mapping[str, Table] = _Tables()
"""Every table of a store by name, in the order in which they are written."""


def get_table(name: str) -> Table:
    """The declared table of a name.

    Raises:
        StoreError: there is none.
    """
    if name not in TABLES:
        raise StoreError(f"there is no table {name!r}", fix=f"one of: {', '.join(TABLES)}")
    return TABLES[name]


def check_frame(table: str, run: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Checks one run's rows of one table and returns them in the table's column order, sorted by its key.

    The column `run` may be left out, since it is the same on every row. A column whose values are all null
    may have the type `Null`, which is what polars gives it.

    Args:
        table: the table's name.
        run: the run the rows belong to.
        frame: the rows.

    Raises:
        StoreError: a column is missing, unknown or of another type; a value that must be there is null; a
            value is NaN or infinite; a row belongs to another run; or two rows have the same key.
    """
    spec = get_table(table)
    if "run" not in frame.columns:
        frame = frame.with_columns(run=pl.lit(run, dtype=pl.String))
    frame = _typed(spec, run, frame)
    others = frame.filter(pl.col("run").ne_missing(run))["run"].unique().sort().to_list()
    if others:
        raise StoreError(f"table {spec.name} holds rows of run {others[0]!r}", run=run, fix="write a run at a time")
    _check_values(spec, run, frame)
    repeated = frame.filter(pl.struct(spec.key).is_duplicated())
    if repeated.height:
        row = ", ".join(f"{name} {repeated[name][0]}" for name in spec.key if name != "run")
        raise StoreError(f"table {spec.name} has two rows for {row or run}", run=run, fix="give each key once")
    return frame.sort(spec.key)


def _typed(spec: Table, run: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The table's columns in its order, each of its type."""
    if set(spec.columns) != set(frame.columns):
        missing = [name for name in spec.columns if name not in frame.columns]
        extra = [name for name in frame.columns if name not in spec.columns]
        parts = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"does not know {', '.join(extra)}"] * bool(extra)
        raise StoreError(f"table {spec.name} {' and '.join(parts)}", run=run, fix=f"give {', '.join(spec.columns)}")
    frame = frame.select(*spec.columns)
    for name, dtype in spec.columns.items():
        if frame.schema[name] == pl.Null:
            frame = frame.with_columns(pl.col(name).cast(dtype))
        elif frame.schema[name] != dtype:
            raise StoreError(f"{spec.name}.{name} is {frame.schema[name]}", run=run, fix=f"cast it to {dtype}")
    return frame


def _check_values(spec: Table, run: str, frame: pl.DataFrame) -> None:
    """Refuses nulls where a value must be, and NaN and infinities everywhere."""
    for field in spec.fields:
        column = frame[field.name]
        if not field.nullable and (count := column.null_count()):
            raise StoreError(f"{spec.name}.{field.name} is null in {count} rows", run=run, fix="it must be given")
        if column.dtype == pl.List(pl.Float64):
            column = column.explode()
        if column.dtype.is_float() and (undefined := column.is_finite().not_().sum()):
            fix = "undefined values are null"
            raise StoreError(f"{spec.name}.{field.name} is NaN or infinite in {undefined} places", run=run, fix=fix)
