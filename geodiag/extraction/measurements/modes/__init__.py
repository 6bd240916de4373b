"""Modes of forgetting: whether a step moved an old task's mass to the new task's answers, or the answers themselves."""

from __future__ import annotations

from typing import Any

from geodiag.extraction.measurements.measurement import Measurement, MeasurementPlan
from geodiag.extraction.measurements.modes.settings import MODE_TABLES, ModeOptions


class Modes(Measurement):
    """The weight of the state before in the mixture, with the new task's own model, that fits the state after."""

    name = "modes"
    summary = "whether old answers lost their mass or drifted"
    tables = MODE_TABLES
    options = ModeOptions
    divided = "runs"
    reads = ("losses",)
    needs_probes = True

    @property
    def added_by(self) -> str:
        """The option that adds it to the geometry."""
        return "--measure geometry,losses,modes"

    def plan(self, run: Any, options: Any, *, selection: Any, strict: bool) -> MeasurementPlan:  # noqa: ARG002
        """Plans the old tasks of a run's steps."""
        from geodiag.extraction.measurements.modes.plan import mode_plan

        return mode_plan(run)
