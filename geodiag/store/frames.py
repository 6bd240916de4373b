"""Checks of a frame against its declared table before it is written.

Every later number is computed from the store. So a wrong column, an undefined value that is not null, or a row given
twice is refused here, with the table and the column named.
"""

from __future__ import annotations

import polars as pl
import polars.selectors as cs

from geodiag.common.schema import Table
from geodiag.errors import StoreError
from geodiag.store.schema import TABLES


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
    _check_run(spec, run, frame)
    _check_nulls(spec, run, frame)
    _check_finite(spec, run, frame)
    _check_unique(spec, run, frame)
    return frame.sort(spec.key)


def _typed(spec: Table, run: str, frame: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in spec.columns if name not in frame.columns]
    extra = [name for name in frame.columns if name not in spec.columns]
    if missing or extra:
        parts = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"does not know {', '.join(extra)}"] * bool(extra)
        raise StoreError(f"table {spec.name} {' and '.join(parts)}", run=run, fix=f"give {', '.join(spec.columns)}")
    frame = frame.select(*spec.columns)
    untyped = [name for name, dtype in frame.schema.items() if dtype == pl.Null]
    frame = frame.with_columns(pl.col(name).cast(spec.columns[name]) for name in untyped)
    for name, dtype in spec.columns.items():
        if frame.schema[name] != dtype:
            raise StoreError(f"{spec.name}.{name} is {frame.schema[name]}", run=run, fix=f"cast it to {dtype}")
    return frame


def _check_run(spec: Table, run: str, frame: pl.DataFrame) -> None:
    others = frame.filter(pl.col("run").ne_missing(run))["run"].unique().sort().to_list()
    if others:
        raise StoreError(f"table {spec.name} holds rows of run {others[0]!r}", run=run, fix="write a run at a time")


def _check_nulls(spec: Table, run: str, frame: pl.DataFrame) -> None:
    required = [field.name for field in spec.fields if not field.nullable]
    for name in required:
        count = frame[name].null_count()
        if count:
            raise StoreError(f"{spec.name}.{name} is null in {count} rows", run=run, fix="it must be given")


def _check_finite(spec: Table, run: str, frame: pl.DataFrame) -> None:
    plain = frame.select(cs.float())
    lists = frame.select(cs.by_dtype(pl.List(pl.Float64)))
    for column in [*plain, *(column.explode() for column in lists)]:
        count = column.is_finite().not_().sum()
        if count:
            fix = "undefined values are null"
            raise StoreError(f"{spec.name}.{column.name} is NaN or infinite in {count} places", run=run, fix=fix)


def _check_unique(spec: Table, run: str, frame: pl.DataFrame) -> None:
    repeated = frame.filter(pl.struct(spec.key).is_duplicated())
    if repeated.height:
        row = ", ".join(f"{name} {repeated[name][0]}" for name in spec.key if name != "run")
        raise StoreError(f"table {spec.name} has two rows for {row or run}", run=run, fix="give each key once")
