"""Merging rules to compare with: task arithmetic, TIES and OPCM, one weight matrix at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def task_arithmetic(updates: Sequence[Tensor], *, scale: float) -> Float[Tensor, "d_out d_in"]:
    """scale * sum_i D_i (Ilharco et al., ICLR 2023)."""
    return sum(updates[1:], updates[0]) * scale


def ties(updates: Sequence[Tensor], *, keep: float, scale: float) -> Float[Tensor, "d_out d_in"]:
    """Trim, elect a sign, average what agrees with it (Yadav et al., NeurIPS 2023).

    Of each update the share `keep` of entries of largest magnitude stays, ties included. The elected sign of an
    entry is that of the sum of what stayed there; the result is the mean of the entries of that sign, and 0
    where the sum is.

    Args:
        updates: D_i.
        keep: share of entries kept, in (0, 1].
        scale: multiplies the result.
    """
    trimmed = [_trim(D, keep=keep) for D in updates]
    elected = sum(trimmed[1:], trimmed[0]).sign()
    total, count = torch.zeros_like(elected), torch.zeros_like(elected)
    for D in trimmed:
        agrees = (D.sign() == elected) & (D != 0)
        total += torch.where(agrees, D, 0)
        count += agrees
    return total / count.clamp(min=1) * scale


def _trim(D: Tensor, *, keep: float) -> Tensor:
    magnitude = D.abs().flatten()
    kept = max(1, round(keep * magnitude.numel()))
    threshold = magnitude.kthvalue(magnitude.numel() - kept + 1).values
    return torch.where(D.abs() >= threshold, D, 0)


def opcm_projection(
    D: Float[Tensor, "d_out d_in"], merged: Float[Tensor, "d_out d_in"], *, threshold: float
) -> Float[Tensor, "d_out d_in"]:
    """What of D does not act as the merged update does (OPCM, Tang et al., NeurIPS 2025).

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
    return D - leading - (U * diagonal) @ Vh
