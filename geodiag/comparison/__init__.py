"""Two checkpoints, or a checkpoint and an adapter of it: what changed, where, and how much of it is rounding."""

from geodiag.comparison.changes import FamilyChange, LayerChange
from geodiag.comparison.compare import Comparison, compare_checkpoints

__all__ = ["Comparison", "FamilyChange", "LayerChange", "compare_checkpoints"]
