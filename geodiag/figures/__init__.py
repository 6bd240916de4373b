"""Figures: one function each, on a store or a tidy table; axes in, axes out.

Each takes a store, a data frame that is its table, or a mapping of table names to data frames, and draws into new
axes or those given. `caption` says of the axes what they show and from how many observations and runs.
"""

from __future__ import annotations

from geodiag.figures.captions import Caption, Missing, caption, missing_panels
from geodiag.figures.correlation_figures import (
    confounds,
    fig02_global_and_method,
    fig05_intervals,
    fig08_step_correlations,
    fig09_pair_correlations,
    fig12_outcomes_by_method,
    fig13_outcomes,
    incremental_value,
)
from geodiag.figures.data import NothingToDraw, Tables, paper_tables, store_tables
from geodiag.figures.dynamics import (
    fig01_state_dynamics,
    fig10_state_dynamics_by_size,
    fig11_step_dynamics,
    step_dynamics,
)
from geodiag.figures.family_figures import (
    depth_profile,
    family_heatmap,
    fig17_family_profile,
    fig18_top_layers_by_method,
)
from geodiag.figures.outcomes import fig16_harmful_transitions, fig19_final_performance
from geodiag.figures.pair_figures import (
    fig03_alignment_and_harm,
    fig14_pair_change_by_method,
    fig15_pair_conflict_by_method,
    pair_change_heatmap,
    pair_conflict_heatmap,
)
from geodiag.figures.registry import FIGURES, Figure
from geodiag.figures.scatter import fig06_signals_and_forgetting, fig07_alignment_conflict_change
from geodiag.figures.theme import theme
from geodiag.figures.writing import Drawing, Drawn, draw_all, draw_paper

__all__ = [
    "FIGURES",
    "Caption",
    "Drawing",
    "Drawn",
    "Figure",
    "Missing",
    "NothingToDraw",
    "Tables",
    "caption",
    "confounds",
    "depth_profile",
    "draw_all",
    "draw_paper",
    "family_heatmap",
    "fig01_state_dynamics",
    "fig02_global_and_method",
    "fig03_alignment_and_harm",
    "fig05_intervals",
    "fig06_signals_and_forgetting",
    "fig07_alignment_conflict_change",
    "fig08_step_correlations",
    "fig09_pair_correlations",
    "fig10_state_dynamics_by_size",
    "fig11_step_dynamics",
    "fig12_outcomes_by_method",
    "fig13_outcomes",
    "fig14_pair_change_by_method",
    "fig15_pair_conflict_by_method",
    "fig16_harmful_transitions",
    "fig17_family_profile",
    "fig18_top_layers_by_method",
    "fig19_final_performance",
    "incremental_value",
    "missing_panels",
    "pair_change_heatmap",
    "pair_conflict_heatmap",
    "paper_tables",
    "step_dynamics",
    "store_tables",
    "theme",
]
