"""The store's tables as data: what each row is, what each column means, in which unit and type.

`TABLES` is the one place where a column is declared. Writing, reading and the documentation follow it, so
adding a column is one entry here. A column added to a table that stores already hold must be nullable:
reading fills it with null in files written before it existed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import polars as pl

SCHEMA_VERSION = 1
"""Raised when a store written by this version can no longer be read by an older one."""

F64, I32, STR = pl.Float64(), pl.Int32(), pl.String()


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    """Its name in the Parquet file."""
    dtype: pl.DataType
    """Its polars type, which is also its Parquet type."""
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
    columns: Mapping[str, pl.DataType] = field(init=False, repr=False)
    """Name to polars type of every column, the key (and so `run`) among them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", MappingProxyType({c.name: c.dtype for c in self.fields}))

    def empty(self) -> pl.DataFrame:
        """A frame without rows that has this table's columns and types."""
        return pl.DataFrame(schema=dict(self.columns))


_RUN = Column("run", STR, "the run's id, unique in a store")
_STEP = Column("step", I32, "the step of the sequence", "1..T")
_LAYER = Column("layer", STR, "the layer's canonical name, such as model.layers.0.self_attn.q_proj")
_BLOCK = Column("block", I32, "the index of the transformer block the layer belongs to", "0..")
_FAMILY = Column("family", STR, "the projection family, such as q_proj")

_RUNS = (
    _RUN,
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
    _RUN,
    _STEP,
    Column("object", STR, "`task:<name>`, or `state` for the previous state kept as an anchor"),
    Column("role", STR, "what the object is", "task or state"),
    Column("task", STR, "the task's folded name; null for a state", nullable=True),
)

_LAYERS = (
    _RUN,
    _LAYER,
    _BLOCK,
    _FAMILY,
    Column("d_out", I32, "rows of the weight: its output width", "count"),
    Column("d_in", I32, "columns of the weight: its input width, where the geometry lives", "count"),
    Column("dtype", STR, "the type the weight is stored in, such as bfloat16"),
)

_UPDATES = (
    _RUN,
    Column("step", I32, "a state's own step; for a task, the step that trained it", "1..T"),
    Column("object", STR, "`state` (theta_t - theta_base) or `task:<name>` (that task's update)"),
    _LAYER,
    _BLOCK,
    _FAMILY,
    Column("norm", F64, "||D||_F of the object's update D", ">= 0"),
    Column("increment_norm", F64, "||theta_t - theta_{t-1}||_F, on state rows only", ">= 0", nullable=True),
    Column("rank", I32, "how many singular directions were kept", "0..rank"),
    Column("energy_kept", F64, "share of ||D||_F^2 in the kept directions", "0..1", nullable=True),
    Column("stable_rank", F64, "||D||_F^2 / s_1^2", ">= 1", nullable=True),
    Column("changed_share", F64, "share of the weight's entries that changed at all", "0..1", nullable=True),
    Column("rounding_floor", F64, "the norm that rounding alone would give", ">= 0", nullable=True),
    Column("singular_values", pl.List(F64), "the kept singular values, largest first", "> 0", nullable=True),
)

_PAIRS = (
    _RUN,
    Column("step", I32, "its step; for two tasks, the first at which both are active", "1..T"),
    Column("kind", STR, "active: two active objects; state: S_t and one of them", "active or state"),
    Column("object_i", STR, "`task:<name>` or `state`; for kind state it is S_t"),
    Column("object_j", STR, "`task:<name>` or `state`"),
    _LAYER,
    _BLOCK,
    _FAMILY,
    Column("sar_ij", F64, "||D_i V_j||_F / ||D_i||_F", "0..1", nullable=True),
    Column("sar_ji", F64, "||D_j V_i||_F / ||D_j||_F", "0..1", nullable=True),
    Column("sar", F64, "mean of sar_ij and sar_ji", "0..1", nullable=True),
    Column("conflict", F64, "bures_sq / (trace_i + trace_j + lambda)", "0..1", nullable=True),
    Column("bures_sq", F64, "squared Bures-Wasserstein distance of B_i and B_j", ">= 0", nullable=True),
    Column("trace_i", F64, "tr B_i, lambda * union_rank included", ">= 0", nullable=True),
    Column("trace_j", F64, "tr B_j, lambda * union_rank included", ">= 0", nullable=True),
    Column("union_rank", I32, "columns of the pair's union basis", "count", nullable=True),
    Column("lambda_share", F64, "share of the traces that lambda contributes", "0..1", nullable=True),
)

_UNIONS = (
    _RUN,
    _STEP,
    _LAYER,
    Column("active_rank", I32, "columns of the union basis of the active set", "count", nullable=True),
    Column("state_rank", I32, "columns of the union basis of the active set and S_t", "count", nullable=True),
)

_GRADIENTS = (
    _RUN,
    _STEP,
    _LAYER,
    Column("task_i", STR, "the folded name of one active task"),
    Column("task_j", STR, "the folded name of another active task"),
    _BLOCK,
    _FAMILY,
    Column("cos", F64, "<g_i, g_j> / (||g_i|| ||g_j||) at theta_t", "-1..1", nullable=True),
    Column("dot", F64, "<g_i, g_j>", nullable=True),
    Column("norm_i", F64, "||g_i||_F", ">= 0", nullable=True),
    Column("norm_j", F64, "||g_j||_F", ">= 0", nullable=True),
    Column("reliability_i", F64, "how far g_i repeats between halves of its probes", "-1..1", nullable=True),
    Column("reliability_j", F64, "how far g_j repeats between halves of its probes", "-1..1", nullable=True),
)

_SCORES = (
    _RUN,
    Column("step", I32, "the step scored; 0 is the base", "0..T"),
    Column("task", STR, "the task's folded name; `overall` is the overall score"),
    Column("score", F64, "the score as a fraction", "0..1"),
    Column("stderr", F64, "its standard error", ">= 0", nullable=True),
    Column("n", pl.Int64(), "how many examples it was measured on", "count", nullable=True),
)

_MERGES = (
    _RUN,
    _STEP,
    _LAYER,
    _BLOCK,
    _FAMILY,
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

_PAIR_KEY = ("run", "step", "kind", "object_i", "object_j", "layer")
_ALL = (
    Table("runs", "one run: a base model and its sequence of steps", ("run",), _RUNS),
    Table("active", "one object of a step's active set", ("run", "step", "object"), _ACTIVE),
    Table("layers", "one layer of a run", ("run", "layer"), _LAYERS),
    Table("updates", "one object's update in one layer", ("run", "step", "object", "layer"), _UPDATES),
    Table("pairs", "two objects compared in one layer", _PAIR_KEY, _PAIRS),
    Table("unions", "the union bases of one step in one layer", ("run", "step", "layer"), _UNIONS),
    Table(
        "gradients",
        "two tasks' probe gradients compared in one layer at one state",
        ("run", "step", "layer", "task_i", "task_j"),
        _GRADIENTS,
    ),
    Table("scores", "one task's score after one step", ("run", "step", "task"), _SCORES),
    Table("merges", "one step of a merge in one layer", ("run", "step", "layer"), _MERGES),
)

TABLES: Mapping[str, Table] = MappingProxyType({table.name: table for table in _ALL})
"""Every table of a store by name, in the order in which they are written."""
