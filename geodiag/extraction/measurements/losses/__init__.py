"""Losses: what every state predicts on every task's probes, and how far that is from the state before and the base."""

from __future__ import annotations

from typing import Any

from geodiag.extraction.measurements.losses.settings import LOSS_TABLES, LossOptions
from geodiag.extraction.measurements.measurement import Measurement, MeasurementPlan


class Losses(Measurement):
    """Losses of every task with probes at every state, the base among them."""

    name = "losses"
    summary = "losses of every task's probes at every state"
    tables = LOSS_TABLES
    options = LossOptions
    needs_probes = True

    def plan(self, run: Any, options: Any, *, selection: Any, strict: bool) -> MeasurementPlan:  # noqa: ARG002
        """Plans the states and tasks of a run."""
        from geodiag.extraction.measurements.losses.plan import loss_inputs
        from geodiag.extraction.measurements.losses.rows import LossRun

        return LossRun(run, options, *loss_inputs(run, options, strict=strict))
