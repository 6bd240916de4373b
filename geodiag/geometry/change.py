"""How large a change is, and whether it is more than rounding."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

# Mantissa bits p and the smallest normal number of each stored type: neighbours of x lie 2^(floor(log2|x|) - p) apart.
_MANTISSA = {torch.float16: 10, torch.bfloat16: 7, torch.float32: 23, torch.float64: 52}


def frobenius_norm(D: Float[Tensor, "*batch d_out d_in"]) -> Float[Tensor, "*batch"]:
    """||D||_F, summed in float64 whatever the type of D."""
    return torch.linalg.vector_norm(D, dim=(-2, -1), dtype=torch.float64)


def stable_rank(norm: Float[Tensor, "*batch"], s_1: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """||D||_F^2 / s_1^2, in [1, min(d_out, d_in)]; NaN for a zero update, which has none.

    Args:
        norm: ||D||_F.
        s_1: the largest singular value of D.
    """
    return (norm / s_1).square()


def changed_share(new: Float[Tensor, "d_out d_in"], old: Float[Tensor, "d_out d_in"]) -> float:
    """The share of entries that differ at all, in [0, 1], judged in the stored type."""
    return torch.count_nonzero(new != old).item() / new.numel()


def spacing(weight: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The unit in the last place of every entry in its stored type, in float64.

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
    norm = torch.linalg.vector_norm(_powers(weight), dtype=torch.float64).item()
    return float((norm * 2.0 ** -_MANTISSA[weight.dtype]) ** 2 / 12)


def _powers(weight: Tensor) -> Tensor:
    """2^floor(log2|x|) of every entry, in at least single precision."""
    wide = weight if weight.dtype == torch.float64 else weight.float()
    # Clearing sign and mantissa bits leaves 2^floor(log2|x|), which is quicker than frexp and as exact.
    bits, mask = (torch.int64, 0x7FF << 52) if wide.dtype == torch.float64 else (torch.int32, 0x7F800000)
    power = (wide.contiguous().view(bits) & mask).view(wide.dtype)
    if weight.dtype == torch.float16:  # its subnormals are evenly spaced, and are normal once in float32
        power = power.clamp_min(torch.finfo(torch.float16).smallest_normal)
    return power
