"""Subspace alignment ratio (SAR): how much of one update acts in the other's input directions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def projected_norms(D: Float[Tensor, "d_out d_in"], V: Float[Tensor, "m d_in k"]) -> Float[Tensor, " m"]:
    """||D V_j||_F for m subspaces in one product.

    Args:
        D: a full update, not its truncation: what lies outside its own top directions counts too.
        V: orthonormal (or zero) columns spanning each subspace.
    """
    m, d_in, k = V.shape
    DV = D @ V.to(D.dtype).permute(1, 0, 2).reshape(d_in, m * k)
    return torch.linalg.vector_norm(DV.view(-1, m, k), dim=(0, 2), dtype=torch.float64)


def sar_from_norms(projected: Float[Tensor, "*batch"], norm: Float[Tensor, "*#batch"]) -> Float[Tensor, "*batch"]:
    """SAR(i -> j) = ||D_i V_j||_F / ||D_i||_F, in [0, 1]; NaN where D_i is zero.

    V_j are the RIGHT singular vectors of the other update (arXiv 2605.09608, Sec. 2); the ratio of the same
    name in Marczak et al. (ICML 2025) projects on the left ones of the merged matrix.

    Args:
        projected: ||D_i V_j||_F, from `projected_norms`.
        norm: ||D_i||_F.
    """
    return (projected / norm).clamp(max=1.0)  # above 1 only by rounding; clamp keeps NaN
