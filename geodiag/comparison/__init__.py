"""Two checkpoints, or a checkpoint and an adapter of it: what changed, where, and how much of it is rounding."""

from geodiag.comparison.compare import compare_checkpoints
from geodiag.comparison.results import Comparison, FamilyChange, LayerChange

__all__ = ["Comparison", "FamilyChange", "LayerChange", "compare_checkpoints"]
