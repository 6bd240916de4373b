"""Size of an update, dense or factored, and the norm that rounding alone would give it.

An update that comes factored, D = B A with r columns and rows, is measured without the product: everything on the
input side of D depends on D'D alone, and with a thin QR, B = Q R, the r x d_in matrix C = R A has C'C = D'D.

Symbols
    D                           (d_out, d_in) update, theta_new - theta_old
    s_1                         its largest singular value
    B  (d_out, r), A (r, d_in)  factors of D = B A
    C  (min(d_out, r), d_in)    right factor, C'C = D'D
    ulp(x)                      2^(floor(log2 |x|) - p), the unit in the last place of a number with p mantissa bits
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geodiag.geometry import numerics

# Mantissa bits p and the smallest normal number of each stored type: neighbours of x lie 2^(floor(log2|x|) - p) apart.
_MANTISSA = {torch.float16: 10, torch.bfloat16: 7, torch.float32: 23, torch.float64: 52}
# Where each type that is as wide as float32's range keeps its exponent.
_EXPONENT = {
    torch.bfloat16: (torch.int16, 0x7F80),
    torch.float32: (torch.int32, 0x7F800000),
    torch.float64: (torch.int64, 0x7FF << 52),
}


def frobenius_norm(D: Float[Tensor, "*batch d_out d_in"]) -> Float[Tensor, "*batch"]:
    """||D||_F = sqrt(sum_ij D_ij^2), in float64.

    Rows are summed in the precision of D, at least float32, and the rows' norms in float64: twenty times quicker than
    float64 throughout, and right to 1e-6 whatever the size. Where squares leave the range of float32, all is float64.
    """
    rows = torch.linalg.vector_norm(D, dim=-1, dtype=None if D.dtype == torch.float64 else torch.float32)
    norm = torch.linalg.vector_norm(rows, dim=-1, dtype=torch.float64)
    if D.dtype != torch.float64 and not bool(((norm > 1e-15) & (norm < 1e15)).all()):
        return torch.linalg.vector_norm(D, dim=(-2, -1), dtype=torch.float64)
    return norm


def stable_rank(norm: Float[Tensor, "*batch"], s_1: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """||D||_F^2 / s_1^2, in [1, min(d_out, d_in)]; NaN where s_1 is 0, as for a zero update, which has none.

    Args:
        norm: ||D||_F.
        s_1: the largest singular value of D.
    """
    # ||D||_F^2 / s_1^2; the quotient first, because squares of small norms underflow
    return torch.where(s_1 > 0, norm / s_1, torch.nan).square()


def difference(
    new: Float[Tensor, "d_out d_in"], old: Float[Tensor, "d_out d_in"], out: Float[Tensor, "d_out d_in"]
) -> Float[Tensor, "d_out d_in"]:
    """new - old in the precision of `out`, or in float64 where either is stored so; written into `out`.

    Args:
        new, old: weights in their stored types; neither is copied as a whole.
        out: at least float32.
    """
    wide = torch.promote_types(torch.promote_types(new.dtype, old.dtype), out.dtype)
    for here in _row_blocks(out):
        if wide == out.dtype:
            out[here].copy_(new[here]).sub_(old[here].to(wide))
        else:
            out[here].copy_(new[here].to(wide) - old[here].to(wide))
    return out


def _row_blocks(weight: Tensor) -> Iterator[slice]:
    """Blocks of rows, on the CPU small enough for intermediate results to stay in its caches; elsewhere one block."""
    rows, columns = weight.shape
    block = max(1, 2**17 // columns) if weight.device.type == "cpu" else rows
    for first in range(0, rows, block):
        yield slice(first, first + block)


def changed_share(D: Float[Tensor, "d_out d_in"]) -> float:
    """The share of entries that are not zero, in [0, 1].

    Args:
        D: the difference, taken in at least the stored precision: it is 0 where and only where both ends are equal.
    """
    if D.device.type != "cpu":
        return torch.count_nonzero(D).item() / D.numel()
    changed = 0
    for here in _row_blocks(D):
        # torch takes a branch an entry here, which is seven times slower where changes are scattered.
        changed += int(np.count_nonzero(D[here].numpy() != 0))
    return changed / D.numel()


def spacing(weight: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """ulp(x), the unit in the last place of every entry in its stored dtype, in float64.

    Args:
        weight: numbers in their stored type (float16, bfloat16, float32 or float64).
    """
    return _powers(weight).double() * 2.0 ** -_MANTISSA[weight.dtype]


def rounding_floor_sq(weight: Float[Tensor, "d_out d_in"]) -> float:
    """The squared Frobenius norm of the rounding error that storing `weight` in its type has left in it.

    Each entry is modelled as off by a uniform error of at most half a unit in the last place, so the sum is
    sum_x ulp(x)^2 / 12. A difference of two checkpoints whose norm is at or under the square root of the
    sum of both floors may be rounding alone.

    Args:
        weight: a weight in its stored type (float16, bfloat16, float32 or float64).
    """
    # sum_x ulp(x)^2 / 12 = || 2^floor(log2 |x|) ||_F^2 2^(-2p) / 12
    norms = [frobenius_norm(_powers(weight[here])) for here in _row_blocks(weight)]
    return float((torch.stack(norms) * 2.0 ** -_MANTISSA[weight.dtype]).square().sum().item() / 12)


def _powers(weight: Tensor) -> Tensor:
    """2^floor(log2|x|) of every entry, in a type that holds it."""
    wide = weight.float() if weight.dtype == torch.float16 else weight
    # Clearing sign and mantissa bits leaves 2^floor(log2|x|), which is quicker than frexp and as exact.
    bits, mask = _EXPONENT[wide.dtype]
    power = (wide.contiguous().view(bits) & mask).view(wide.dtype)
    if weight.dtype == torch.float16:  # its subnormals are evenly spaced, and are normal once in float32
        power = power.clamp_min(torch.finfo(torch.float16).smallest_normal)
    return power


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
    # B = Q R, C = R A
    return numerics.qr_r(B.double()) @ A.double()


def thin_right_vectors(
    C: Float[Tensor, "batch r d_in"], *, k: int
) -> tuple[Float[Tensor, "batch k"], Float[Tensor, "batch d_in k"]]:
    """The top k singular values and right vectors of matrices with few rows, exactly, in float64.

    A thin QR, C' = Q R, leaves an r x r core: R' = U S W' gives C = U S (Q W)'.

    Args:
        C: from `right_factor`, or any matrices with fewer rows than columns.
        k: at most r.
    """
    # C' = Q R and R' = U S W', so C = U S (Q W)'
    Q, R = torch.linalg.qr(C.double().mT)
    _, s, Wh = numerics.svd(R.mT)
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
    # sum_k (sum_i ulp(B_ik)^2 ||A_k||^2 + ||B_k||^2 sum_j ulp(A_kj)^2) / 12
    ulp_B, ulp_A = (spacing(factor).square().sum(dim) for factor, dim in ((B, 0), (A, 1)))
    size_B, size_A = B.double().square().sum(0), A.double().square().sum(1)
    return float((ulp_B @ size_A + size_B @ ulp_A) / 12)
