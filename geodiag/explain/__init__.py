"""Explanation of one step: evidence on why it forgot, a verdict with its confidence, and advice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodiag.common.deprecated import moved_names
from geodiag.explain.causes import CAUSES, Cause
from geodiag.explain.evidence import StoreEvidence
from geodiag.explain.explanation import Explanation, explain_step
from geodiag.explain.results import Advice, CauseFinding, Line, LossCorrelation, Section, Verdict
from geodiag.stats.placement import Placement

__all__ = [
    "CAUSES",
    "Advice",
    "Cause",
    "CauseFinding",
    "Explanation",
    "Line",
    "LossCorrelation",
    "Placement",
    "Section",
    "StoreEvidence",
    "Verdict",
    "explain_step",
]


if not TYPE_CHECKING:
    __getattr__ = moved_names(
        __name__,
        {
            "Evidence": "geodiag.explain.evidence:StoreEvidence",
            "Finding": "geodiag.explain.results:CauseFinding",
            "Place": "geodiag.stats.placement:Placement",
            "Track": "geodiag.explain.results:LossCorrelation",
        },
    )
