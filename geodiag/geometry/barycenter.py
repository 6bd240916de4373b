"""The Wasserstein barycenter of centred Gaussians: the mean of covariances that the Bures distance defines.

Symbols
    B_i  (q, q)  covariances, symmetric positive semi-definite
    w_i          weights, normalised to sum 1
    S    (q, q)  the barycenter, or the current iterate
    T_i  (q, q)  optimal transport map from N(0, S) to N(0, B_i); T = sum_i w_i T_i
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geodiag.geometry import numerics


@dataclass(frozen=True)
class Barycenter:
    """The barycenters of a batch of sets of matrices, and the convergence of the iteration."""

    matrix: Float[Tensor, "*batch q q"]
    """The barycenter, symmetric positive semi-definite."""
    iterations: Int[Tensor, "*batch"]
    """Number of fixed-point steps."""
    residual: Float[Tensor, "*batch"]
    """|| sum_i w_i T_i - I ||_F / sqrt(q), T_i the optimal map to B_i; 0 at the barycenter, whatever the scale."""
    converged: Bool[Tensor, "*batch"]
    """Whether the residual is at most the tolerance asked for."""


def bures_barycenter(
    B: Float[Tensor, "*batch m q q"],
    weights: Float[Tensor, "*weights m"],
    *,
    iterations: int = 50,
    tol: float = 1e-5,
) -> Barycenter:
    """The S that minimises sum_i w_i d2(S, B_i), d2 the squared Bures-Wasserstein distance.

    At a positive definite S the gradient is I - sum_i w_i T_i, where T_i = S^-1/2 (S^1/2 B_i S^1/2)^1/2 S^-1/2
    carries N(0, S) to N(0, B_i). The fixed-point step S <- T S T with T = sum_i w_i T_i never raises the sum
    and converges to the barycenter (Alvarez-Esteban, del Barrio, Cuesta-Albertos and Matran, 2016, Thm. 4.2).
    The start, (sum_i w_i B_i^1/2)^2, is already the answer where the matrices commute.

    The roots come from singular values of S^1/2 B_i^1/2, which keep the digits that the square root of an
    eigenvalue near zero loses. Directions that no B_i has stay out of S, and of the residual.

    Args:
        B: symmetric positive semi-definite matrices, m to a set. float64 is meant: at a regulariser of 1e-6
            the eigenvalues of one matrix lie six orders of magnitude apart.
        weights: weights >= 0 of the m matrices, of any positive sum; one set for all, or one for each.
        iterations: the most steps.
        tol: the residual at which to stop. A set that has reached it is left alone while others go on, so
            results do not depend on the rest of the batch.

    Raises:
        ValueError: a weight is negative, or all are zero.
    """
    w = _normalised(weights).to(B)[..., None, None]
    roots = _root(B)
    # S_0 = (sum_i w_i B_i^1/2)^2
    S = _squared((w * roots).sum(-3))
    steps = torch.zeros(S.shape[:-2], dtype=torch.int64, device=B.device)
    T, residual = _mean_map(S, roots, w)
    for _ in range(iterations):
        moving = residual > tol
        if not moving.any():
            break
        # S <- T S T   (Alvarez-Esteban et al., 2016)
        S = torch.where(moving[..., None, None], T @ S @ T, S)
        steps = steps + moving
        T, residual = _mean_map(S, roots, w)
    return Barycenter((S + S.mT) / 2, steps, residual, residual <= tol)


def _mean_map(
    S: Float[Tensor, "*batch q q"], roots: Float[Tensor, "*batch m q q"], w: Float[Tensor, "*weights m 1 1"]
) -> tuple[Float[Tensor, "*batch q q"], Float[Tensor, "*batch"]]:
    """sum_i w_i T_i at S, and its distance from the identity of S's range."""
    values, U = numerics.eigh((S + S.mT) / 2)
    real = values > values.shape[-1] * torch.finfo(values.dtype).eps * values[..., -1:]
    root = torch.where(real, values, 0.0).sqrt()
    inverse = torch.where(real, values, 1.0).rsqrt() * real
    # In the eigenbasis of S its roots only scale rows and columns, and with X sigma Z' = S^1/2 B_i^1/2
    # (S^1/2 B_i S^1/2)^1/2 = X sigma X', so that T = S^-1/2 (sum_i w_i X_i sigma_i X_i') S^-1/2
    X, sigma, _ = numerics.svd((root[..., :, None] * U.mT)[..., None, :, :] @ roots)
    mean = (w * ((X * sigma[..., None, :]) @ X.mT)).sum(-3)
    T = inverse[..., :, None] * mean * inverse[..., None, :]
    # residual = || T - I ||_F / sqrt(q), I and q of the range of S
    off = torch.linalg.matrix_norm(T - torch.diag_embed(real.to(T.dtype)))
    return U @ T @ U.mT, off / real.sum(-1).clamp(min=1).sqrt()


def _root(B: Float[Tensor, "*batch q q"]) -> Float[Tensor, "*batch q q"]:
    values, U = numerics.eigh((B + B.mT) / 2)
    return (U * values.clamp(min=0).sqrt()[..., None, :]) @ U.mT


def _squared(A: Float[Tensor, "*batch q q"]) -> Float[Tensor, "*batch q q"]:
    return A @ A.mT


def _normalised(weights: Float[Tensor, "*weights m"]) -> Float[Tensor, "*weights m"]:
    total = weights.sum(-1, keepdim=True)
    if bool((weights < 0).any()) or bool((total <= 0).any()):
        raise ValueError(f"weights are {weights.tolist()}; they must be 0 or more, and not all 0")
    return weights / total
