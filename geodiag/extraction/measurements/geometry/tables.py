"""Tables of the geometry measurement."""

from __future__ import annotations

import polars as pl

from geodiag.common.schema import BLOCK, F64, FAMILY, I32, LAYER, RUN, STEP, STR, Column, Table

_LAYERS = (
    RUN,
    LAYER,
    BLOCK,
    FAMILY,
    Column("d_out", I32, "rows of the weight: its output width", "count"),
    Column("d_in", I32, "columns of the weight: its input width, where the geometry lives", "count"),
    Column("dtype", STR, "the type the weight is stored in, such as bfloat16"),
)

_UPDATES = (
    RUN,
    Column("step", I32, "a state's own step; for a task, the step that trained it", "1..T"),
    Column("object", STR, "`state` (theta_t - theta_base) or `task:<name>` (that task's update)"),
    LAYER,
    BLOCK,
    FAMILY,
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
    RUN,
    Column("step", I32, "its step; for two tasks, the first at which both are active", "1..T"),
    Column("kind", STR, "active: two active objects; state: S_t and one of them", "active or state"),
    Column("object_i", STR, "`task:<name>` or `state`; for kind state it is S_t"),
    Column("object_j", STR, "`task:<name>` or `state`"),
    LAYER,
    BLOCK,
    FAMILY,
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
    RUN,
    STEP,
    LAYER,
    Column("active_rank", I32, "columns of the union basis of the active set", "count", nullable=True),
    Column("state_rank", I32, "columns of the union basis of the active set and S_t", "count", nullable=True),
)

_PAIR_KEY = ("run", "step", "kind", "object_i", "object_j", "layer")

GEOMETRY_TABLES = (
    Table("layers", "one layer of a run", ("run", "layer"), _LAYERS),
    Table("updates", "one object's update in one layer", ("run", "step", "object", "layer"), _UPDATES),
    Table("pairs", "two objects compared in one layer", _PAIR_KEY, _PAIRS),
    Table("unions", "the union bases of one step in one layer", ("run", "step", "layer"), _UNIONS),
)
"""In the order in which they are written."""
