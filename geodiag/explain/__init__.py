"""Explanation of one step: evidence on why it forgot, a verdict with its confidence, and advice."""

from __future__ import annotations

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
