"""Signals and outcomes of runs, from the raw rows of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodiag.common.deprecated import moved_names
from geodiag.signals.catalog import (
    FAMILY_SIGNALS,
    HEALTH,
    PAIR_SIGNALS,
    PAIR_TARGETS,
    RUN_TARGETS,
    SIGNALS,
    TARGETS,
    Signal,
)
from geodiag.signals.layer_ranking import LAYER_RANKINGS, Ranking, top_layers
from geodiag.signals.levels import family_signals, layer_signals, step_signals
from geodiag.signals.outcomes import run_outcomes
from geodiag.signals.pairs import pair_signals

__all__ = [
    "FAMILY_SIGNALS",
    "HEALTH",
    "LAYER_RANKINGS",
    "PAIR_SIGNALS",
    "PAIR_TARGETS",
    "RUN_TARGETS",
    "SIGNALS",
    "TARGETS",
    "Ranking",
    "Signal",
    "family_signals",
    "layer_signals",
    "pair_signals",
    "run_outcomes",
    "step_signals",
    "top_layers",
]


if not TYPE_CHECKING:
    __getattr__ = moved_names(
        __name__,
        {
            "RANKINGS": "geodiag.signals.layer_ranking:LAYER_RANKINGS",
        },
    )
