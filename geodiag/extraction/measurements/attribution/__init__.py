"""Loss-change allocation: which weights a step changed to raise or lower each task's loss."""

from __future__ import annotations

from typing import Any

from geodiag.extraction.measurements.attribution.settings import ATTRIBUTION_TABLES, AttributionOptions
from geodiag.extraction.measurements.measurement import Measurement, MeasurementPlan


class Attribution(Measurement):
    """The loss change of every old, new and untrained task over every step, split over the model's weights."""

    name = "attribution"
    summary = "each step's loss changes split over the weights it changed"
    tables = ATTRIBUTION_TABLES
    options = AttributionOptions
    needs_probes = True

    def plan(self, run: Any, options: Any, *, selection: Any, strict: bool) -> MeasurementPlan:  # noqa: ARG002
        """Plans the steps and tasks of a run."""
        from geodiag.extraction.measurements.attribution.plan import attribution_plan

        return attribution_plan(run, options, selection)
