"""Subspaces: alignment of one update with the basis of another (SAR), and the rank of unions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from geodiag.geometry import numerics as small
from geodiag.geometry.numerics import product


def projected_norms(D: Float[Tensor, "d_out d_in"], V: Float[Tensor, "m d_in k"]) -> Float[Tensor, " m"]:
    """||D V_j||_F for m subspaces in one product, in the precision of D, summed in float64.

    Args:
        D: a full update, not its truncation: what lies outside its own top directions counts too. Rounded to
            bfloat16, as in `geodiag.geometry.numerics`, it gives lengths right to 1e-4.
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


def rank_tolerance(dtype: torch.dtype) -> float:
    """The sine under which a direction counts as already spanned: sqrt(32 eps) of a precision.

    Sines come from squared lengths, so nothing under sqrt(eps) can be told from zero. 2e-3 after single,
    8e-8 after double precision.
    """
    return float((32 * torch.finfo(dtype).eps) ** 0.5)


def _residual(Q: Float[Tensor, "d_in q"], V: Float[Tensor, "d_in k"]) -> Float[Tensor, "d_in k"]:
    """V less its projection on the columns of Q."""
    return V - Q @ (Q.mT @ V)


def extend_basis(Q: Float[Tensor, "d_in q"], V: Float[Tensor, "d_in k"], *, tol: float) -> Float[Tensor, "d_in q_new"]:
    """An orthonormal basis of span(Q) + span(V), its first columns Q itself.

    Directions of V that lie in span(Q) up to a sine of `tol` add nothing. This is what an unpivoted QR of
    the stacked columns gets wrong: it turns the rounding error of overlapping directions into basis
    vectors and loses others.

    Args:
        Q: orthonormal columns, possibly none.
        V: orthonormal or zero columns.
        tol: the sine under which a direction counts as spanned (`rank_tolerance`).
    """
    R = _residual(Q, V)
    sine_sq, W = small.eigh(R.mT @ R)
    new = R @ W[:, sine_sq > tol**2]
    # Directions of a small sine carry amplified rounding error, which a second projection removes; the QR of the
    # already independent rest is safe.
    return torch.cat([Q, torch.linalg.qr(_residual(Q, new / new.norm(dim=0))).Q], dim=1) if new.shape[1] else Q


def added_rank(Q: Float[Tensor, "d_in q"], V: Float[Tensor, "d_in k"], *, tol: float) -> int:
    """dim(span(Q) + span(V)) - dim(span(Q)), with the tolerance of `extend_basis`."""
    R = _residual(Q, V)
    return int((small.eigvalsh(R.mT @ R) > tol**2).sum())
