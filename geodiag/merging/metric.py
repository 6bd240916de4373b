"""The metric of an input space that several updates share, and the coordinates in which it is the identity.

Q            orthonormal basis of the union of the updates' right singular directions, (d_in, q)
V_i, s_i     truncated right singular vectors and values of update i
B_i          Q'V_i diag(s_i^2) V_i'Q + lambda I, covariance of update i in that basis, (q, q)
B            barycenter (or mean) of the B_i;  G = Q B Q' + lambda (I - Q Q'), the metric, never formed
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from geodiag.geometry import Barycenter, Spectrum, bures_barycenter, extend_basis, numerics, rank_tolerance


@dataclass(frozen=True)
class InputMetric:
    """G = Q B Q' + lambda (I - Q Q'), positive definite on the inputs of a layer.

    Whitening, X -> X G^-1/2, takes an update into coordinates in which every direction weighs the same; there
    the Frobenius inner product of two updates is tr(X G^-1 Y'). Recoloring, X -> X G^1/2, is its inverse, and
    takes Frobenius norms into those of G^-1. Neither forms a d_in x d_in matrix: both scale by a power of lambda
    and correct what lies in the span of Q.
    """

    Q: Float[Tensor, "d_in q"]
    """Orthonormal basis of the union of the updates' directions."""
    B: Float[Tensor, "q q"]
    """The metric in that basis, float64, with eigenvalues of at least lambda."""
    lam: float
    """lambda > 0: what a direction weighs that no update has."""

    def whiten(self, X: Float[Tensor, "d_out d_in"]) -> Float[Tensor, "d_out d_in"]:
        """X G^-1/2 = X Q B^-1/2 Q' + lambda^-1/2 (X - X Q Q'), in the type of X."""
        return self._apply(X, power=-0.5)

    def recolor(self, X: Float[Tensor, "d_out d_in"]) -> Float[Tensor, "d_out d_in"]:
        """X G^1/2 = X Q B^1/2 Q' + lambda^1/2 (X - X Q Q'), in the type of X."""
        return self._apply(X, power=0.5)

    def _apply(self, X: Tensor, *, power: float) -> Tensor:
        # X G^p = lambda^p X + X Q (B^p - lambda^p I) Q',  B = U diag(values) U'
        values, U = numerics.eigh(self.B)
        change = (U * (values.clamp(min=self.lam) ** power - self.lam**power)) @ U.mT
        Q = self.Q.to(X.dtype)
        # The correction is folded into the narrow factor, which is multiplied in double precision.
        return (X * self.lam**power).addmm_(X @ (self.Q @ change).to(X.dtype), Q.mT)


def union_covariances(
    spectrum: Spectrum, *, lam: float, tol: float
) -> tuple[Float[Tensor, "d_in q"], Float[Tensor, "m q q"]]:
    """Q, a basis of all updates' directions, and B_i = Q'V_i diag(s_i^2) V_i'Q + lambda I.

    Args:
        spectrum: of m updates.
        lam: the regulariser lambda.
        tol: the sine under which directions count as the same.
    """
    Q = spectrum.V.new_zeros(spectrum.V.shape[1], 0)
    for V, rank in zip(spectrum.V, spectrum.rank.tolist(), strict=True):
        Q = extend_basis(Q, V[:, :rank], tol=tol) if rank else Q
    QV = Q.mT @ spectrum.V
    identity = torch.eye(Q.shape[1], dtype=Q.dtype, device=Q.device)
    # B_i = Q'V_i diag(s_i^2) V_i'Q + lambda I
    return Q, (QV * spectrum.s.square()[:, None, :]) @ QV.mT + lam * identity


def shared_metric(
    spectrum: Spectrum,
    weights: Float[Tensor, " m"],
    *,
    lam: float,
    mean: bool = False,
    iterations: int = 50,
    tol: float = 1e-5,
) -> tuple[InputMetric, Barycenter]:
    """The metric that m updates share: the barycenter of their covariances, or their arithmetic mean.

    Args:
        spectrum: truncated spectra of the updates.
        weights: >= 0.
        lam: the regulariser lambda > 0.
        mean: whether to take the arithmetic mean, which ignores how the updates' directions are rotated against
            each other.
        iterations: the most fixed-point steps.
        tol: the residual at which they stop.

    Returns:
        The metric and the barycenter, whose matrix is B; a mean takes 0 steps and has converged.
    """
    Q, B = union_covariances(spectrum, lam=lam, tol=rank_tolerance(torch.float32))
    if not mean:
        center = bures_barycenter(B, weights, iterations=iterations, tol=tol)
    else:
        w = weights / weights.sum()
        zero = B.new_zeros(())
        # B = sum_i w_i B_i / sum_i w_i
        average = (w[:, None, None] * B).sum(0)
        center = Barycenter(average, zero.long(), zero, torch.ones_like(zero, dtype=torch.bool))
    return InputMetric(Q, center.matrix, lam), center
