"""Extraction: the plan of a run, the loop over its layers, and the measurements made on it."""

from typing import TYPE_CHECKING

from geodiag.common.deprecated import moved_names

if not TYPE_CHECKING:
    __getattr__ = moved_names(
        __name__,
        {
            "Basis": "geodiag.extraction.measurements.geometry.alignment:Basis",
            "PER_LAYER_TABLES": "geodiag.extraction.measurements.geometry.settings:PER_LAYER_TABLES",
            "PRESETS": "geodiag.extraction.measurements.geometry.settings:PRESETS",
            "Pair": "geodiag.extraction.plan:Pair",
            "Plan": "geodiag.extraction.plan:Plan",
            "Row": "geodiag.extraction.measurements.measurement:Row",
            "RunExtraction": "geodiag.extraction.measurements.geometry.run:GeometryRun",
            "Settings": "geodiag.extraction.measurements.geometry.settings:GeometrySettings",
            "Update": "geodiag.extraction.plan:Update",
            "active_rows": "geodiag.extraction.plan:active_rows",
            "layer_rows": "geodiag.extraction.measurements.geometry.rows:layer_rows",
            "make_plan": "geodiag.extraction.plan:make_plan",
            "make_settings": "geodiag.extraction.measurements.geometry.settings:make_settings",
            "pick_device": "geodiag.geometry.numerics:pick_device",
            "prepare": "geodiag.extraction.measurements.geometry.run:prepare_geometry",
            "read_bases": "geodiag.extraction.measurements.geometry.alignment:read_bases",
            "write_bases": "geodiag.extraction.measurements.geometry.alignment:write_bases",
        },
    )
