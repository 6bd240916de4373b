"""What is said about a measured column besides its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["norm", "geometry", "gradient", "baseline", "outcome", "health"]


@dataclass(frozen=True)
class Signal:
    """A column that is measured at every step, family, layer or pair."""

    name: str
    """The column's name."""
    label: str
    """What the paper's tables and figures call it."""
    kind: Kind
    """Where it comes from: weights' size, geometry, probe gradients, the step index, scores, or checks."""
    low: float
    """Its smallest possible value."""
    high: float
    """Its largest possible value."""
    reading: str
    """Which way it points: what a larger value says."""
    meaning: str
    """What it is, in one sentence."""
    caveat: str = ""
    """What to keep in mind when reading it, in one sentence; empty where nothing is."""
