"""How large a change is, and whether it is more than rounding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

# Mantissa bits p and the smallest normal number of each stored type: neighbours of x lie 2^(floor(log2|x|) - p) apart.
_MANTISSA = {torch.float16: 10, torch.bfloat16: 7, torch.float32: 23, torch.float64: 52}
# Where each type that is as wide as float32's range keeps its exponent.
_EXPONENT = {
    torch.bfloat16: (torch.int16, 0x7F80),
    torch.float32: (torch.int32, 0x7F800000),
    torch.float64: (torch.int64, 0x7FF << 52),
}


def frobenius_norm(D: Float[Tensor, "*batch d_out d_in"]) -> Float[Tensor, "*batch"]:
    """||D||_F in float64.

    Rows are summed in the precision of D, at least float32, and the rows' norms in float64: twenty times quicker than
    float64 throughout, and right to 1e-6 whatever the size. Where squares leave the range of float32, all is float64.
    """
    rows = torch.linalg.vector_norm(D, dim=-1, dtype=None if D.dtype == torch.float64 else torch.float32)
    norm = torch.linalg.vector_norm(rows, dim=-1, dtype=torch.float64)
    if D.dtype != torch.float64 and not bool(((norm > 1e-15) & (norm < 1e15)).all()):
        return torch.linalg.vector_norm(D, dim=(-2, -1), dtype=torch.float64)
    return norm


def stable_rank(norm: Float[Tensor, "*batch"], s_1: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """||D||_F^2 / s_1^2, in [1, min(d_out, d_in)]; NaN for a zero update, which has none.

    Args:
        norm: ||D||_F.
        s_1: the largest singular value of D.
    """
    return (norm / s_1).square()


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
    """All rows, on the CPU a few at a time, so that what is between stays in its caches."""
    rows, columns = weight.shape
    block = max(1, 2**17 // columns) if weight.device.type == "cpu" else rows
    yield from (slice(first, first + block) for first in range(0, rows, block))


def changed_share(D: Float[Tensor, "d_out d_in"]) -> float:
    """The share of entries that changed at all, in [0, 1].

    Args:
        D: the difference, taken in at least the stored precision: it is 0 where and only where both ends are equal.
    """
    if D.device.type != "cpu":
        return torch.count_nonzero(D).item() / D.numel()
    # torch takes a branch an entry here, which is seven times slower where changes are scattered.
    return sum(int(np.count_nonzero(D[here].numpy() != 0)) for here in _row_blocks(D)) / D.numel()


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
