"""Names that moved to `geodiag.extraction.measurements.gradients`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodiag.common.deprecated import moved_names

if not TYPE_CHECKING:
    __getattr__ = moved_names(
        __name__,
        {
            "GradientOptions": "geodiag.extraction.measurements.gradients.settings:GradientOptions",
            "GradientPlan": "geodiag.extraction.measurements.gradients.plan:GradientPlan",
            "GradientStep": "geodiag.extraction.measurements.gradients.plan:GradientStep",
            "gradient_plan": "geodiag.extraction.measurements.gradients.plan:gradient_plan",
            "gradient_rows": "geodiag.extraction.measurements.gradients.rows:gradient_rows",
        },
    )
