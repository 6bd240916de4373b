"""OPCM: each update is projected away from the merge so far, then added; one scale for the whole model.

D_t          update of task t on one weight matrix, theta_t - theta_base, (d_out, d_in)
M_t          the merged update after step t; lambda_t its scale, one number for the whole model
P(D)         D without the part that acts as the merge so far does
U, s, V      singular vectors and values of the merge so far
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from geodiag.merging.rules.rule import MergeRule, MergeUpdate, RuleStats
from geodiag.runs.yaml_source import FiniteNumber


def opcm_projection(
    D: Float[Tensor, "d_out d_in"], merged: Float[Tensor, "d_out d_in"], *, threshold: float
) -> Float[Tensor, "d_out d_in"]:
    """P(D), the new update without the part that acts as the merge so far does.

    With merged = U diag(s) V' and X = U'D V, the leading r x r block and the whole diagonal of X are set to 0,
    r the number of singular values before their running sum passes `threshold` of the total. Taking those
    entries away from D, D - U (mask * X) V', gives the same without the square U and V. Singular vectors of zero
    values are arbitrary, so the diagonal ends at the rank of the merged update.

    Args:
        D: the new update.
        merged: the merged update so far, of any scale. Where it is 0, D is returned.
        threshold: share of sum_k s_k, in [0, 1).
    """
    U, s, Vh = torch.linalg.svd(merged, full_matrices=False)
    total = s.sum()
    if total == 0:
        return D.clone()
    r = int((s.cumsum(0) <= threshold * total).sum())
    rank = int((s > s[0] * max(merged.shape) * torch.finfo(s.dtype).eps).sum())
    U_r, V_r = U[:, :r], Vh[:r].mT
    leading = U_r @ (U_r.mT @ D @ V_r) @ V_r.mT
    U, Vh = U[:, r:rank], Vh[r:rank]
    diagonal = ((U.mT @ D) * Vh).sum(-1)
    # P(D) = D - U_r U_r'D V_r V_r' - sum_{k=r+1}^{rank} (u_k'D v_k) u_k v_k'
    return D - leading - (U * diagonal) @ Vh


class OpcmRule(MergeRule):
    """Orthogonal projection-based continual merging; its scale is one number for the whole model."""

    label: ClassVar[str] = "OPCM"
    reference: ClassVar[str] = "Tang et al., NeurIPS 2025"
    recursive: ClassVar[bool] = True
    scaled: ClassVar[bool] = True
    name: Literal["opcm"] = "opcm"
    threshold: Annotated[FiniteNumber, Field(ge=0, lt=1)] = 0.5
    """the share of the singular values' sum that is projected out, in [0, 1)"""

    def merge(self, active: Sequence[MergeUpdate], before: Tensor | None) -> tuple[Tensor, RuleStats]:
        """lambda_t M_t. P does not depend on the scale of M_(t-1), so lambda_t is left to `model_scale`."""
        new = active[-1].D
        if before is None:
            return new.clone(), RuleStats()
        # lambda_t M_t = lambda_(t-1) M_(t-1) + P(D_t)
        return before + opcm_projection(new, before, threshold=self.threshold), RuleStats()

    def model_scale(self, new_norms: Sequence[float], state_norm: float) -> float:
        """1 / lambda_t, which gives the merge the mean length of the updates; 0 for a merge of length 0."""
        # ||M_t||_F = mean_{i<=t} ||D_i||_F
        return sum(new_norms) / len(new_norms) / state_norm if state_norm else 0.0

    def flops(self, shape: tuple[int, int], active: Sequence[int], *, experts: int) -> tuple[float, float]:
        """One full SVD an expert."""
        del active
        svd = 10 * 2 * shape[0] * shape[1] * min(shape)
        return float(experts * svd), float(experts * svd)

    def held_numbers(self, shape: tuple[int, int], active: int, *, experts: int) -> int:
        """The changes of all steps, which wait for their scale, and the factors of the SVD."""
        del active
        return (experts + 3) * shape[0] * shape[1]
