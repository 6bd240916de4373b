"""Why a step forgot, as far as its numbers can tell, and how far that can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodiag.common.deprecated import moved_names
from geodiag.explain.causes import CAUSES, Cause
from geodiag.explain.evidence import StoreEvidence
from geodiag.explain.explanation import explain_step
from geodiag.explain.results import Advice, CauseFinding, Explanation, Line, Section, Track, Verdict
from geodiag.stats.placement import Placement

__all__ = [
    "CAUSES",
    "Advice",
    "Cause",
    "CauseFinding",
    "Explanation",
    "Line",
    "Placement",
    "Section",
    "StoreEvidence",
    "Track",
    "Verdict",
    "explain_step",
]


if not TYPE_CHECKING:
    __getattr__ = moved_names(
        __name__,
        {
            "Evidence": "geodiag.explain.evidence.StoreEvidence",
            "Finding": "geodiag.explain.results.CauseFinding",
            "Place": "geodiag.stats.placement.Placement",
        },
    )
