"""Merging experts one after another into a run: GCWM on the geometry of their updates, and rules to compare with.

Every rule merges the same tensors, the projections that extraction compares, and leaves all others (embeddings,
norms, biases, the output layer) as the base has them. GCWM and WUDI are defined on linear layers; task arithmetic,
TIES and OPCM are published for all parameters, so what is merged here is their part on the projections.
"""

from geodiag.merging.config import MergeConfig, load_merge, parse_merge
from geodiag.merging.edit import EditedStep, StepEdit, edit_step
from geodiag.merging.prepare import plan_merge
from geodiag.merging.run import MergedRun, run_merge

__all__ = [
    "EditedStep",
    "MergeConfig",
    "MergedRun",
    "StepEdit",
    "edit_step",
    "load_merge",
    "parse_merge",
    "plan_merge",
    "run_merge",
]
