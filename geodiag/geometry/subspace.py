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
