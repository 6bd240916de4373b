"""Edits of steps: what putting some of a step's weights back restores of old tasks and keeps of the new one."""

from __future__ import annotations

from typing import Any

from geodiag.extraction.measurements.edits.settings import EDIT_TABLES, EditOptions
from geodiag.extraction.measurements.measurement import Measurement, MeasurementPlan


class Edits(Measurement):
    """Steps edited group by group and scored on probes: chosen on one half of them, judged on the other."""

    name = "edits"
    summary = "what undoing parts of a step restores"
    tables = EDIT_TABLES
    options = EditOptions
    divided = "runs"  # what is judged follows from what was chosen
    reads = ("losses", "attribution", "scores")
    needs_probes = True

    @property
    def added_by(self) -> str:
        """The option that adds it to the geometry."""
        return "--measure geometry,losses,attribution,edits"

    def plan(self, run: Any, options: Any, *, selection: Any, strict: bool) -> MeasurementPlan:  # noqa: ARG002
        """Plans the edits of a run's lossy steps."""
        from geodiag.extraction.measurements.edits.plan import edit_plan

        return edit_plan(run, options, selection=selection)
