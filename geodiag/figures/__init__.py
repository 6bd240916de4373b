"""Figures: one function each, on a store or a tidy table; axes in, axes out."""

from __future__ import annotations

from geodiag.figures.captions import Caption, caption
from geodiag.figures.data import NothingToDraw, Tables
from geodiag.figures.families import family_heatmap
from geodiag.figures.pairs import pair_change_heatmap, pair_conflict_heatmap
from geodiag.figures.steps import step_dynamics
from geodiag.figures.theme import theme

__all__ = [
    "Caption",
    "NothingToDraw",
    "Tables",
    "caption",
    "family_heatmap",
    "pair_change_heatmap",
    "pair_conflict_heatmap",
    "step_dynamics",
    "theme",
]
