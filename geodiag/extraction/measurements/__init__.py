"""The measurements of a run, as a list: a new one is one folder here and one entry."""

from __future__ import annotations

from geodiag.extraction.measurements.attribution import Attribution
from geodiag.extraction.measurements.geometry import Geometry
from geodiag.extraction.measurements.gradients import Gradients
from geodiag.extraction.measurements.losses import Losses
from geodiag.extraction.measurements.measurement import Measurement

MEASUREMENTS: list[Measurement] = [Geometry(), Gradients(), Losses(), Attribution()]
"""In the order in which they are made; the first one makes a run's own rows."""

__all__ = ["MEASUREMENTS", "Measurement"]
