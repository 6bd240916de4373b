"""Updates that come factored, D = B A with r columns and rows: their geometry without the product.

Everything that is measured on the input side of D depends on D'D alone. With a thin QR, B = Q R, the r x d_in
matrix C = R A has C'C = D'D: it has the norm, the right singular vectors and values, and the projections
||D V||_F = ||C V||_F of the update itself. A difference of two factored updates is factored too,
B_1 A_1 - B_2 A_2 = [B_1, -B_2] [A_1; A_2].
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from geodiag.geometry import numerics as small
from geodiag.geometry.change import spacing


def right_factor(
    B: Float[Tensor, "*batch d_out r"], A: Float[Tensor, "*batch r d_in"]
) -> Float[Tensor, "*batch h d_in"]:
    """C = R A, where B = Q R: the update B A up to an orthogonal factor on its left, in float64.

    Args:
        B: the left factor, any scale of the update included.
        A: the right factor.

    Returns:
        min(d_out, r) rows, in place of the d_out of B A.
    """
    return small.qr_r(B.double()) @ A.double()


def thin_right_vectors(
    C: Float[Tensor, "batch r d_in"], *, k: int
) -> tuple[Float[Tensor, "batch k"], Float[Tensor, "batch d_in k"]]:
    """The top k singular values and right vectors of matrices with few rows, exactly, in float64.

    A thin QR, C' = Q R, leaves an r x r core: R' = U S W' gives C = U S (Q W)'.

    Args:
        C: from `right_factor`, or any matrices with fewer rows than columns.
        k: at most r.
    """
    Q, R = torch.linalg.qr(C.double().mT)
    _, s, Wh = small.svd(R.mT)
    return s[:, :k], Q @ Wh.mT[..., :k]


def product_floor_sq(B: Float[Tensor, "d_out r"], A: Float[Tensor, "r d_in"]) -> float:
    """The squared norm of the error that storing both factors in their types has left in B A.

    To first order the error is dB A + B dA, its entries independent and uniform within half a unit in the last
    place of the number stored, so the expected square is
    sum_k (sum_i ulp(B_ik)^2 ||A_k||^2 + ||B_k||^2 sum_j ulp(A_kj)^2) / 12.

    Args:
        B: the left factor in its stored type, without any scale.
        A: the right factor in its stored type.
    """
    ulp_B, ulp_A = (spacing(factor).square().sum(dim) for factor, dim in ((B, 0), (A, 1)))
    size_B, size_A = B.double().square().sum(0), A.double().square().sum(1)
    return float((ulp_B @ size_A + size_B @ ulp_A) / 12)
