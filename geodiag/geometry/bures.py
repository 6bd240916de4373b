"""Bures-Wasserstein geometry of update covariances, in closed forms of the pair's own coordinates.

An update's projected geometry in a union basis Q (q columns) is B_i = Q'V_i diag(s_i^2) V_i'Q + lambda I_q
(arXiv 2605.09608, Sec. 3). Nothing below forms Q or takes a matrix square root of a d_in-sized matrix:

* In the coordinates [V_i, W], W an orthonormal rest of span(V_j), B_i is diagonal. With C = V_i'V_j and any
  R with R'R = I - C'C, B_j = F F' + lambda I for F = [C; R] diag(s_j).
* tr (B_i^1/2 B_j B_i^1/2)^1/2 is the nuclear norm of B_i^1/2 L for any L with L L' = B_j. Singular values
  keep the digits that the square root of an eigenvalue near zero loses.
* Off the span of both updates B_i and B_j are lambda I, so a larger basis leaves the distance as it is and
  adds lambda to each trace for each further column. Padding to a common size is therefore exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geodiag.geometry import numerics


@dataclass(frozen=True)
class PairGeometry:
    """The geometry of a batch of pairs (i, j) of updates, each in its own union basis."""

    bures_sq: Float[Tensor, "*batch"]
    """Squared Bures-Wasserstein distance d2(B_i, B_j), at least 0; the same in any larger basis."""
    trace_i: Float[Tensor, "*batch"]
    """tr B_i = sum_k s_ik^2 + lambda q."""
    trace_j: Float[Tensor, "*batch"]
    """tr B_j = sum_k s_jk^2 + lambda q."""
    union_rank: Int[Tensor, "*batch"]
    """q, the dimension of span(V_i) + span(V_j)."""
    conflict: Float[Tensor, "*batch"]
    """Geometry conflict gamma = d2 / (tr B_i + tr B_j + lambda), in [0, 1]; NaN where an update has no geometry."""
    lambda_share: Float[Tensor, "*batch"]
    """2 lambda q / (tr B_i + tr B_j), the regulariser's part of the traces, in [0, 1]."""


def cross_gram(V: Float[Tensor, "m d_in k"], W: Float[Tensor, "n d_in l"]) -> Float[Tensor, "m n k l"]:
    """V_i'W_j of each of m updates with each of n others, in one product.

    Args:
        V, W: right singular vectors, zero where padded.
    """
    (m, d_in, k), (n, _, l_) = V.shape, W.shape
    # [V_1 ... V_m]' [W_1 ... W_n]
    flat_V, flat_W = V.permute(1, 0, 2).reshape(d_in, m * k), W.permute(1, 0, 2).reshape(d_in, n * l_)
    return (flat_V.mT @ flat_W).view(m, k, n, l_).permute(0, 2, 1, 3)


def bures_fidelity(
    s_i: Float[Tensor, "*batch k"],
    s_j: Float[Tensor, "*batch l"],
    C: Float[Tensor, "*batch k l"],
    *,
    lam: float,
) -> Float[Tensor, "*batch"]:
    """tr (B_i^1/2 B_j B_i^1/2)^1/2 in the k + l coordinates [V_i, W], from the cross-Gram alone.

    With lambda = 0 it is || diag(s_i) V_i'V_j diag(s_j) ||_*, the nuclear norm of a k x l matrix.

    Args:
        s_i, s_j: singular values, zero where padded.
        C: V_i'V_j, zero where padded.
        lam: the regulariser lambda >= 0.
    """
    if lam == 0:
        # tr (B_i^1/2 B_j B_i^1/2)^1/2 = || diag(s_i) V_i'V_j diag(s_j) ||_*
        return numerics.svdvals(s_i[..., :, None] * C * s_j[..., None, :]).sum(-1)
    k, l_ = C.shape[-2:]
    # R'R = I - C'C, from its eigenvalues tau, which are squared sines of principal angles
    tau, U = numerics.eigh(torch.eye(l_, dtype=C.dtype, device=C.device) - C.mT @ C)
    R = tau.clamp(min=0).sqrt()[..., :, None] * U.mT
    # F = [C; R] diag(s_j), so that B_j = F F' + lambda I
    F = torch.cat([C, R], dim=-2) * s_j[..., None, :]
    floor = torch.eye(k + l_, dtype=C.dtype, device=C.device).mul(lam**0.5).expand(*F.shape[:-2], -1, -1)
    # L L' = B_j. L' from a QR of [F, lambda^1/2 I]' stays exact where a Cholesky factor of F F' + lambda I would not
    # exist.
    L = numerics.qr_r(torch.cat([F, floor], dim=-1).mT).mT
    # B_i = diag(s_i^2 + lambda, lambda); fidelity = || B_i^1/2 L ||_*
    b_i = torch.cat([s_i.square() + lam, s_i.new_full((*s_i.shape[:-1], l_), lam)], dim=-1)
    return numerics.svdvals(b_i.sqrt()[..., :, None] * L).sum(-1)


def bures_distance(
    s_i: Float[Tensor, "*batch k"],
    s_j: Float[Tensor, "*batch l"],
    C: Float[Tensor, "*batch k l"],
    *,
    lam: float,
) -> Float[Tensor, "*batch"]:
    """Squared Bures-Wasserstein distance tr B_i + tr B_j - 2 fidelity, at least 0.

    Args:
        s_i, s_j, C, lam: as in `bures_fidelity`.
    """
    # d2 = tr B_i + tr B_j - 2 tr (B_i^1/2 B_j B_i^1/2)^1/2, the traces over all k + l coordinates: the lambda of
    # coordinates beyond the union adds as much to the traces as to twice the fidelity.
    traces = s_i.square().sum(-1) + s_j.square().sum(-1) + 2 * lam * sum(C.shape[-2:])
    return (traces - 2 * bures_fidelity(s_i, s_j, C, lam=lam)).clamp(min=0)


def bures_conflict(
    bures_sq: Float[Tensor, "*batch"],
    trace_i: Float[Tensor, "*batch"],
    trace_j: Float[Tensor, "*batch"],
    *,
    lam: float,
) -> Float[Tensor, "*batch"]:
    """gamma = d2 / (tr B_i + tr B_j + eps) with eps = lambda, in [0, 1]: 0 is the same geometry.

    Args:
        bures_sq: squared distance.
        trace_i, trace_j: traces in the same basis.
        lam: the regulariser lambda.
    """
    # gamma = d2 / (tr B_i + tr B_j + eps), eps = lambda   (arXiv 2605.09608, Sec. 3)
    return bures_sq / (trace_i + trace_j + lam)


def pair_geometry(
    s_i: Float[Tensor, "*batch k"],
    s_j: Float[Tensor, "*batch l"],
    C: Float[Tensor, "*batch k l"],
    *,
    lam: float,
    tol: float,
) -> PairGeometry:
    """Distance, traces, union rank and conflict of pairs of truncated spectra, batched.

    Args:
        s_i, s_j: singular values, zero where padded.
        C: V_i'V_j, zero where padded; all pairs of a layer come from one cross-Gram (`cross_gram`).
        lam: the regulariser lambda >= 0.
        tol: the sine under which directions count as the same (`rank_tolerance`).

    Raises:
        ValueError: lam is negative.
    """
    if lam < 0:
        raise ValueError(f"lam is {lam}; lambda regularises, so it must be 0 or more")
    rank_i, rank_j = (s_i > 0).sum(-1), (s_j > 0).sum(-1)
    # q = dim(span V_i + span V_j)
    q = rank_i + rank_j - shared_rank(C, tol=tol)
    bures_sq = bures_distance(s_i, s_j, C, lam=lam)
    # tr B_i = sum_k s_ik^2 + lambda q
    floor = lam * q.to(s_i.dtype)  # an integer tensor times a float would be single precision
    trace_i, trace_j = s_i.square().sum(-1) + floor, s_j.square().sum(-1) + floor
    defined = (rank_i > 0) & (rank_j > 0)
    undefined = torch.full_like(bures_sq, torch.nan)
    return PairGeometry(
        bures_sq=torch.where(defined, bures_sq, undefined),
        trace_i=trace_i,
        trace_j=trace_j,
        union_rank=q,
        conflict=torch.where(defined, bures_conflict(bures_sq, trace_i, trace_j, lam=lam), undefined),
        lambda_share=torch.where(defined, 2 * floor / (trace_i + trace_j), undefined),
    )


def shared_rank(C: Float[Tensor, "*batch k l"], *, tol: float) -> Int[Tensor, "*batch"]:
    """Number of common directions of span(V_i) and span(V_j): principal angles with a sine of at most `tol`.

    Args:
        C: V_i'V_j, whose singular values are the cosines.
        tol: the sine under which directions count as the same.
    """
    cosine = numerics.svdvals(C)
    # sine^2 = (1 - c)(1 + c); subtracting c from 1 first keeps the digits that 1 - c^2 would lose
    return ((1 - cosine) * (1 + cosine) <= tol**2).sum(-1)
