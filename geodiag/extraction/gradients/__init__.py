"""Gradient conflict: at every state, the angles between the tasks' gradients on probe examples."""

from geodiag.extraction.gradients.options import GradientOptions
from geodiag.extraction.gradients.plan import GradientPlan, GradientStep, gradient_plan
from geodiag.extraction.gradients.run import gradient_rows

__all__ = ["GradientOptions", "GradientPlan", "GradientStep", "gradient_plan", "gradient_rows"]
