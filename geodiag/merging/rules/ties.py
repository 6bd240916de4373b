"""TIES: trim each update, elect a sign for each entry, average the entries of that sign.

D_i          update of task i on one weight matrix, theta_i - theta_base, (d_out, d_in)
keep         share of the entries of each D_i that is kept, those of largest magnitude
T_i          D_i with the other entries set to 0
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from geodiag.merging.rules.rule import MergeRule, MergeUpdate, RuleStats
from geodiag.runs.yaml_source import FiniteNumber, Share


def ties(updates: Sequence[Tensor], *, keep: float, scale: float) -> Float[Tensor, "d_out d_in"]:
    """The mean of the trimmed updates' entries that have the elected sign; 0 where the trimmed updates sum to 0.

    Args:
        updates: D_i.
        keep: share of entries kept, in (0, 1]; entries as large as the smallest one kept stay too.
        scale: multiplies the result.
    """
    trimmed = [_trim(D, keep=keep) for D in updates]
    # sign = sgn(sum_i T_i)
    elected = sum(trimmed[1:], trimmed[0]).sign()
    total, count = torch.zeros_like(elected), torch.zeros_like(elected)
    for T in trimmed:
        agrees = (T.sign() == elected) & (T != 0)
        total += torch.where(agrees, T, 0)
        count += agrees
    # D_merge = scale * mean of the T_i with sgn(T_i) = sign
    return total / count.clamp(min=1) * scale


def _trim(D: Tensor, *, keep: float) -> Tensor:
    magnitude = D.abs().flatten()
    kept = max(1, round(keep * magnitude.numel()))
    threshold = magnitude.kthvalue(magnitude.numel() - kept + 1).values
    return torch.where(D.abs() >= threshold, D, 0)


class TiesRule(MergeRule):
    """Trim, elect a sign, merge."""

    label: ClassVar[str] = "TIES"
    reference: ClassVar[str] = "Yadav et al., NeurIPS 2023"
    name: Literal["ties"] = "ties"
    keep: Annotated[Share, Field(gt=0)] = 0.2
    """the share of each update's entries kept, in (0, 1]"""
    scale: FiniteNumber = 1.0
    """multiplies the result"""

    def merge(self, active: Sequence[MergeUpdate], before: Tensor | None) -> tuple[Tensor, RuleStats]:
        """TIES of the active updates."""
        del before
        return ties([update.D for update in active], keep=self.keep, scale=self.scale), RuleStats()
