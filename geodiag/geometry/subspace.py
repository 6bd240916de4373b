"""Subspaces: alignment of one update with the basis of another (SAR), and the rank of unions.

Symbols
    D, D_i  (d_out, d_in)  full update, not its truncation
    V_j     (d_in, k)      top right singular vectors of update j
    Q       (d_in, q)      orthonormal basis of a union of subspaces
    R       (d_in, k)      V less its projection on span(Q); its squared singular values are squared sines
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from geodiag.geometry import numerics
from geodiag.geometry.change import frobenius_norm
from geodiag.geometry.numerics import product


def projected_norms(
    D: Float[Tensor, "d_out d_in"],
    V: Float[Tensor, "m d_in k"],
    *,
    norm: float | None = None,
    core: Float[Tensor, "r d_in"] | None = None,
    rest: Float[Tensor, "m d_in k"] | None = None,
) -> Float[Tensor, " m"]:
    """||D V_j||_F for m subspaces in one product, in the precision of D, summed in float64.

    In bfloat16 (`geodiag.geometry.numerics`) the product alone is right to 1e-4 for random updates, and off by 2e-3
    for updates of low rank, with outlier channels, or of entries of one length. `norm`, `core` and `rest` correct for
    the rounding of D and V in 2 r / d_out of the product's time, and leave at most 2e-4 in all of these at 32
    directions. An update with a few outlier rows keeps 1e-3, because nothing averages the rounding of those rows.

    Args:
        D: a full update, not its truncation: directions outside its own top ones count too.
        V: orthonormal (or zero) columns spanning each subspace.
        norm: ||D||_F before D was rounded.
        core: K = diag(s) V_D', the strongest directions of D before it was rounded; with `rest`.
        rest: E_j, V_j before rounding to the precision of D less V_j after it.

    Returns:
        (m,) in float64.
    """
    squares = _by_subspace(_products(D, V).square_(), m=len(V))
    if norm is not None:
        # D~ is D rounded. Where entries have one length, as in sign updates, all are rounded to the same side, so
        # ||D V||_F^2 = (||D||_F / ||D~||_F)^2 ||D~ V||_F^2
        squares *= (norm / frobenius_norm(D).clamp(min=torch.finfo(torch.float64).tiny)).square()
    if core is not None and rest is not None:
        # ||K (V + E)||_F^2 - ||K V||_F^2 = <2 K V + K E, K E>
        KV, KE = _products(core.to(D.dtype), V), _products(core.to(D.dtype), rest)
        squares += _by_subspace((2 * KV + KE) * KE, m=len(V))
    return squares.clamp(min=0).sqrt()


def _products(D: Float[Tensor, "n d_in"], V: Float[Tensor, "m d_in k"]) -> Float[Tensor, "n columns"]:
    """D V_j of every j side by side, in at least float32."""
    m, d_in, k = V.shape
    return product(D[None], V.permute(1, 0, 2).reshape(1, d_in, m * k))[0]


def _by_subspace(X: Float[Tensor, "n columns"], *, m: int) -> Float[Tensor, " m"]:
    """The sums of m matrices side by side: over rows in the precision of X, over columns in float64."""
    return X.sum(0).double().view(m, -1).sum(-1)


def sar_from_norms(projected: Float[Tensor, "*batch"], norm: Float[Tensor, "*#batch"]) -> Float[Tensor, "*batch"]:
    """SAR(i -> j) = ||D_i V_j||_F / ||D_i||_F, in [0, 1]; NaN where D_i is zero.

    V_j are the RIGHT singular vectors of the other update (arXiv 2605.09608, Sec. 2); the ratio of the same
    name in Marczak et al. (ICML 2025) projects on the left ones of the merged matrix.

    Args:
        projected: ||D_i V_j||_F, from `projected_norms`.
        norm: ||D_i||_F.
    """
    # SAR(i -> j) = ||D_i V_j||_F / ||D_i||_F   (arXiv 2605.09608, Sec. 2)
    return (projected / norm).clamp(max=1.0)  # above 1 only by rounding; clamp keeps NaN


def rank_tolerance(dtype: torch.dtype) -> float:
    """The sine under which a direction counts as already spanned: sqrt(32 eps) of a precision.

    Sines come from squared lengths, so nothing under sqrt(eps) can be distinguished from zero. 2e-3 after
    single, 8e-8 after double precision.
    """
    return float((32 * torch.finfo(dtype).eps) ** 0.5)


def _residual(Q: Float[Tensor, "d_in q"], V: Float[Tensor, "d_in k"]) -> Float[Tensor, "d_in k"]:
    """V - Q Q'V."""
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
    # R = V - Q Q'V; the eigenvalues of R'R are squared sines
    R = _residual(Q, V)
    sine_sq, W = numerics.eigh(R.mT @ R)
    new = R @ W[:, sine_sq > tol**2]
    # Directions of a small sine carry amplified rounding error, which a second projection removes; the QR of the
    # already independent rest is safe.
    return torch.cat([Q, torch.linalg.qr(_residual(Q, new / new.norm(dim=0))).Q], dim=1) if new.shape[1] else Q


def added_rank(Q: Float[Tensor, "d_in q"], V: Float[Tensor, "d_in k"], *, tol: float) -> int:
    """dim(span(Q) + span(V)) - dim(span(Q)), with the tolerance of `extend_basis`."""
    R = _residual(Q, V)
    return int((numerics.eigvalsh(R.mT @ R) > tol**2).sum())
