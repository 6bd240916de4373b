"""Table of the gradient measurement."""

from __future__ import annotations

from geodiag.common.schema import BLOCK, F64, FAMILY, LAYER, RUN, STEP, STR, Column, Table

_GRADIENTS = (
    RUN,
    STEP,
    LAYER,
    Column("task_i", STR, "the folded name of one active task"),
    Column("task_j", STR, "the folded name of another active task"),
    BLOCK,
    FAMILY,
    Column("cos", F64, "<g_i, g_j> / (||g_i|| ||g_j||) at theta_t", "-1..1", nullable=True),
    Column("dot", F64, "<g_i, g_j>", nullable=True),
    Column("norm_i", F64, "||g_i||_F", ">= 0", nullable=True),
    Column("norm_j", F64, "||g_j||_F", ">= 0", nullable=True),
    Column("reliability_i", F64, "how far g_i repeats between halves of its probes", "-1..1", nullable=True),
    Column("reliability_j", F64, "how far g_j repeats between halves of its probes", "-1..1", nullable=True),
)

GRADIENT_TABLES = (
    Table(
        "gradients",
        "two tasks' probe gradients compared in one layer at one state",
        ("run", "step", "layer", "task_i", "task_j"),
        _GRADIENTS,
    ),
)
