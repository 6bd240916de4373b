"""Unions of subspaces: how many directions several updates span together."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from geodiag.geometry import small


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


def span_coordinates(V: Float[Tensor, "m d_in k"], C: Float[Tensor, "m m k k"]) -> Float[Tensor, "m n k"]:
    """The bases of m subspaces in coordinates of the span of them all, in which unions cost far less.

    L with L'L = V'V has every angle and length that V has, up to 3e-8 (a sine's square is known to 1e-15), which is
    far under the tolerance of anything that was stored in single precision.

    Args:
        V: orthonormal or zero columns.
        C: their cross-Gram V_i'V_j.

    Returns:
        n = m k coordinates; V itself where that would be more than half of d_in, so that nothing is gained.
    """
    m, d_in, k = V.shape
    if 2 * m * k > d_in:
        return V
    w, U = small.eigh(C.permute(0, 2, 1, 3).reshape(m * k, m * k))
    L = w.clamp(min=0).sqrt()[:, None] * U.mT
    return L.view(m * k, m, k).permute(1, 0, 2)
