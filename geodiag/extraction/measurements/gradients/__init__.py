"""Gradient conflict: the angles between the gradients of tasks at every state."""

from __future__ import annotations

from typing import Any

from geodiag.extraction.measurements.gradients.settings import GRADIENT_TABLES, GradientOptions
from geodiag.extraction.measurements.measurement import Measurement, MeasurementPlan


class Gradients(Measurement):
    """Cosines of the tasks' gradients on probe examples, at every state."""

    name = "gradients"
    summary = "angles between the gradients of tasks on probe examples"
    tables = GRADIENT_TABLES
    options = GradientOptions
    divided = "runs"  # a state's gradients come from passes over the whole model
    needs_probes = True
    added_by = "--gradients"
    alone_by = "--gradients-only"

    def plan(self, run: Any, options: Any, *, selection: Any, strict: bool) -> MeasurementPlan:
        """Plans the states and passes of a run."""
        from geodiag.extraction.measurements.gradients.plan import gradient_plan
        from geodiag.extraction.measurements.gradients.rows import GradientRun

        plan = gradient_plan(run.plan.manifest, selection, options, memory_budget=run.memory, strict=strict)
        return GradientRun(plan, str(run.device))
