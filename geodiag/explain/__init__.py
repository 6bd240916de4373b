"""Why a step forgot, as far as its numbers can tell, and how far that can be trusted."""

from __future__ import annotations

from geodiag.explain.causes import CAUSES, Cause
from geodiag.explain.evidence import Evidence
from geodiag.explain.explain import explain_step
from geodiag.explain.results import Advice, Explanation, Finding, Line, Place, Section, Track, Verdict

__all__ = [
    "CAUSES",
    "Advice",
    "Cause",
    "Evidence",
    "Explanation",
    "Finding",
    "Line",
    "Place",
    "Section",
    "Track",
    "Verdict",
    "explain_step",
]
