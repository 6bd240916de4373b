"""The tables that hold what the paper leaves open."""

from __future__ import annotations

from geodiag.tables import panels, shows
from geodiag.tables.confounds import pair_confounds, step_confounds
from geodiag.tables.contrasts import contrasts
from geodiag.tables.incremental import incremental
from geodiag.tables.table import Table

OUR_TABLES: tuple[Table, ...] = (
    Table(
        "incremental",
        "What each signal adds to step index and norms",
        "Does a signal say anything about what was lost that the step index, the update norm and the state norm do "
        "not say already?",
        "A slope is of ranks and linear; with few runs much that is real is missed, so a verdict says what the data "
        "can tell, not what is true. A step's index, update norm and state norm are each tested beside the other two.",
        ("forgetting",),
        incremental,
        part="ours",
        shows=shows.verdicts,
        panels=panels.incremental_panels,
    ),
    Table(
        "confounds",
        "Every signal against every outcome, five ways",
        "How much of a pooled correlation is the step index, the size of the updates, or a difference between runs?",
        "Norm sums and norms, global and plain conflict are nearly the same signal, so their rows are not separate "
        "findings; adjusted p-values count the tests of one correlation over all signals and outcomes.",
        ("scores",),
        step_confounds,
        part="ours",
        shows=shows.confounded,
        panels=panels.confound_panels,
    ),
    Table(
        "confounds_pairs",
        "Every pair signal against what became of the old task, five ways",
        "Do updates that conflict with an old task's harm that task more than others?",
        "Pairs of one step share the new task and pairs of one old task share its past; only runs count as "
        "independent. Runs stand opposite each other by step and by how long ago the old task was trained.",
        ("forgetting", "pairs"),
        pair_confounds,
        part="ours",
        shows=shows.confounded,
        panels=panels.confound_panels,
    ),
    Table(
        "contrasts",
        "Which of two signals follows forgetting more closely",
        "Does geometry beat the bare step index, the norms and the gradients?",
        "The larger of two correlations is no proof: only an interval that leaves out 0 is. Near ρ = 0 the absolute "
        "value bends and intervals are too wide.",
        ("forgetting",),
        contrasts,
        part="ours",
        shows=shows.gap_against_step,
        panels=panels.contrast_panels,
    ),
)
"""Ours, the first to read first."""
