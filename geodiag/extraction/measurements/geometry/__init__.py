"""Geometry of updates: norms, spectra, alignment and conflict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geodiag.extraction.measurements.geometry.settings import GEOMETRY_TABLES, GeometrySettings, make_settings
from geodiag.extraction.measurements.measurement import Measurement, MeasurementPlan


class Geometry(Measurement):
    """Norms, spectra, alignment and conflict of every update, layer by layer."""

    name = "geometry"
    summary = "norms, alignment and conflict of updates"
    tables = GEOMETRY_TABLES
    options = GeometrySettings
    founds_run = True

    def make_options(self, preset: str | None, given: Mapping[str, Any]) -> GeometrySettings:
        """The settings of a preset with what was given."""
        return make_settings(preset, **given)

    def plan(self, run: Any, options: Any, *, selection: Any, strict: bool) -> MeasurementPlan:  # noqa: ARG002
        """Plans the layers of a run."""
        from geodiag.extraction.measurements.geometry.run import GeometryRun

        return GeometryRun(run, options)
