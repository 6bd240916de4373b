"""Tables of the store as data: columns, key columns, projection families, and undefined values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

# Types by their polars names: declaring a table must not import polars, which the command line does without.
F32, F64, I32, I64, BOOL, STR = "Float32", "Float64", "Int32", "Int64", "Boolean", "String"
UTC_TIME = "Datetime(us, UTC)"


def list_of(dtype: str) -> str:
    """The type of a list of numbers or texts."""
    return f"List({dtype})"


def polars_type(dtype: str) -> pl.DataType:
    """The polars type of a name above."""
    import polars as pl

    if dtype == UTC_TIME:
        return pl.Datetime("us", "UTC")
    if dtype.startswith("List("):
        return pl.List(polars_type(dtype[5:-1]))
    named: pl.DataType = getattr(pl, dtype)()
    return named


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    """Its name in the Parquet file."""
    dtype: str
    """Its polars type, which is also its Parquet type, by name: one of the constants above."""
    meaning: str
    """What it says, in one line."""
    unit: str = ""
    """Its unit or range; empty for names and labels."""
    nullable: bool = False
    """Whether it may be undefined. Undefined is null, never NaN, 0 or a sentinel."""


@dataclass(frozen=True)
class Table:
    """One table of the store."""

    name: str
    """Its name, which is its folder's name in the store."""
    meaning: str
    """What one row is, in one line."""
    key: tuple[str, ...]
    """The columns that name a row; together they are unique and never null."""
    fields: tuple[Column, ...]
    """Every column in order, the key first."""

    @cached_property
    def columns(self) -> Mapping[str, pl.DataType]:
        """Name to polars type of every column, the key (and so `run`) among them."""
        return MappingProxyType({field.name: polars_type(field.dtype) for field in self.fields})

    def empty(self) -> pl.DataFrame:
        """A frame without rows that has this table's columns and types."""
        import polars as pl

        return pl.DataFrame(schema=dict(self.columns))


RUN = Column("run", STR, "the run's id, unique in a store")
STEP = Column("step", I32, "the step of the sequence", "1..T")
LAYER = Column("layer", STR, "the layer's canonical name, such as model.layers.0.self_attn.q_proj")
BLOCK = Column("block", I32, "the index of the transformer block the layer belongs to", "0..")
FAMILY = Column("family", STR, "the projection family, such as q_proj")


FAMILIES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""In the order in which a block applies them, which is also the order of every table and figure."""


def defined(value: float) -> float | None:
    """The number, or None for NaN."""
    return None if math.isnan(value) else float(value)
