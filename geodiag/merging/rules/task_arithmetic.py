"""Task arithmetic: the scaled sum of the updates.

D_i          update of task i on one weight matrix, theta_i - theta_base, (d_out, d_in)
scale        multiplies the sum
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from geodiag.merging.rules.rule import MergeRule, MergeUpdate, RuleStats
from geodiag.runs.yaml_source import FiniteNumber


def task_arithmetic(updates: Sequence[Tensor], *, scale: float) -> Float[Tensor, "d_out d_in"]:
    """The scaled sum of updates of one weight matrix.

    Args:
        updates: D_i.
        scale: multiplies the sum.
    """
    # D_merge = scale * sum_i D_i
    return sum(updates[1:], updates[0]) * scale


class TaskArithmeticRule(MergeRule):
    """The scaled sum of the updates."""

    label: ClassVar[str] = "Task arithmetic"
    reference: ClassVar[str] = "Ilharco et al., ICLR 2023"
    name: Literal["task_arithmetic"] = "task_arithmetic"
    scale: FiniteNumber = 0.3
    """multiplies the sum"""

    def merge(self, active: Sequence[MergeUpdate], before: Tensor | None) -> tuple[Tensor, RuleStats]:
        """The scaled sum of the active updates."""
        del before
        return task_arithmetic([update.D for update in active], scale=self.scale), RuleStats()
