"""Subspace alignment ratio (SAR): how much of one update acts in the other's input directions."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from geodiag.geometry.precision import product


def projected_norms(D: Float[Tensor, "d_out d_in"], V: Float[Tensor, "m d_in k"]) -> Float[Tensor, " m"]:
    """||D V_j||_F for m subspaces in one product, in the precision of D, summed in float64.

    Args:
        D: a full update, not its truncation: what lies outside its own top directions counts too. Rounded to
            bfloat16, as in `geodiag.geometry.precision`, it gives lengths right to 1e-4.
        V: orthonormal (or zero) columns spanning each subspace.
    """
    m, d_in, k = V.shape
    DV = product(D[None], V.permute(1, 0, 2).reshape(1, d_in, m * k))[0]
    return DV.square_().sum(0).double().view(m, k).sum(-1).sqrt()


def sar_from_norms(projected: Float[Tensor, "*batch"], norm: Float[Tensor, "*#batch"]) -> Float[Tensor, "*batch"]:
    """SAR(i -> j) = ||D_i V_j||_F / ||D_i||_F, in [0, 1]; NaN where D_i is zero.

    V_j are the RIGHT singular vectors of the other update (arXiv 2605.09608, Sec. 2); the ratio of the same
    name in Marczak et al. (ICML 2025) projects on the left ones of the merged matrix.

    Args:
        projected: ||D_i V_j||_F, from `projected_norms`.
        norm: ||D_i||_F.
    """
    return (projected / norm).clamp(max=1.0)  # above 1 only by rounding; clamp keeps NaN
