"""The store's tables as data: what each row is, what each column means, in which unit and type.

`TABLES` holds the tables of a run itself and those that measurements declare. Writing, reading and the documentation
follow it, so adding a column is one entry where its table is declared. A column added to a table that stores already
hold must be nullable: reading fills it with null in files written before it existed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from geodiag.common.schema import BLOCK, F64, FAMILY, I32, LAYER, RUN, STEP, STR, Column, Table
from geodiag.extraction.measurements import MEASUREMENTS

SCHEMA_VERSION = 1
"""Raised when a store written by this version can no longer be read by an older one."""

_RUNS = (
    RUN,
    Column("size", STR, "the model size label"),
    Column("method", STR, "the training method's label"),
    Column("seed", pl.Int64(), "the random seed, where runs differ by it", nullable=True),
    Column("n_steps", I32, "how many steps the run has", "count"),
    Column("n_layers", I32, "how many layers were compared", "count"),
    Column("base", STR, "the base checkpoint, as a path or address"),
    Column("config", STR, "every setting used, as one JSON object"),
    Column("geodiag_version", STR, "the version of this package that wrote the run"),
    Column("created", pl.Datetime("us", "UTC"), "when the run was written", "UTC"),
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
    Column("n", pl.Int64(), "how many examples it was measured on", "count", nullable=True),
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

    def __getitem__(self, name: str) -> Table:
        return {table.name: table for table in self._all()}[name]

    def __iter__(self) -> Iterator[str]:
        return (table.name for table in self._all())

    def __len__(self) -> int:
        return sum(1 for _ in self._all())

    @staticmethod
    def _all() -> Iterator[Table]:
        yield from _BEFORE_MEASUREMENTS
        for measurement in MEASUREMENTS:
            yield from measurement.tables
        yield from _AFTER_MEASUREMENTS


TABLES: Mapping[str, Table] = _Tables()
"""Every table of a store by name, in the order in which they are written."""
