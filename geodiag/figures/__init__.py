"""Figures: one function each, on a store or a tidy table; axes in, axes out.

Each takes a store, a data frame that is its table, or a mapping of table names to data frames, and draws into new
axes or those given. `caption` says of the axes what they show and from how many observations and runs, and
`drawn_rows` gives the numbers in them.

A figure is one function under `registry.figure`, named in `__all__` of its file; a new file is listed here.
"""

# ruff: noqa: F403  (each file names its figures in `__all__`)
from __future__ import annotations

from geodiag.figures import (
    correlation_figures,
    dynamics,
    family_figures,
    layer_heatmaps,
    outcomes,
    pair_figures,
    scatter,
)
from geodiag.figures.captions import Caption, Missing, caption, drawn_rows, missing_panels
from geodiag.figures.correlation_figures import *
from geodiag.figures.data import NothingToDraw, Tables, computed_tables, paper_tables, store_tables
from geodiag.figures.dynamics import *
from geodiag.figures.family_figures import *
from geodiag.figures.layer_heatmaps import *
from geodiag.figures.outcomes import *
from geodiag.figures.pair_figures import *
from geodiag.figures.registry import FIGURES, Figure, figure
from geodiag.figures.scatter import *
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
    "computed_tables",
    "draw_all",
    "draw_paper",
    "drawn_rows",
    "figure",
    "missing_panels",
    "paper_tables",
    "store_tables",
    "theme",
]
__all__ += correlation_figures.__all__
__all__ += dynamics.__all__
__all__ += family_figures.__all__
__all__ += layer_heatmaps.__all__
__all__ += outcomes.__all__
__all__ += pair_figures.__all__
__all__ += scatter.__all__
