"""The precision of large products: no more of it than a value needs.

Two things are computed with products of whole updates: the space in which an update's top directions are sought, and
the lengths ||D V|| behind subspace alignment. Both bear entries rounded to bfloat16 (a relative error of 2^-9 each,
independent and of mean zero): the first because the directions are then computed from the update itself, in
float32, within that space; the second because it is a sum of squares over thousands of entries, in which the errors
cancel to a few 1e-5. A CPU with such arithmetic does these products two to four times as quickly.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

SMALL_LAYER = 512 * 512
"""Entries up to which a layer is computed in full precision, on one thread: its products cost next to nothing."""


def product_dtype(shape: tuple[int, int], device: torch.device) -> torch.dtype:
    """The type in which a device does large products of one shape: bfloat16 where it has such arithmetic.

    Args:
        shape: (d_out, d_in).
        device: where the products are done.
    """
    quick = shape[0] * shape[1] > SMALL_LAYER and _has_bfloat16(device)
    return torch.bfloat16 if quick else torch.float32


@cache
def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    found = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def product(A: Float[Tensor, "batch m n"], B: Float[Tensor, "batch n k"]) -> Float[Tensor, "batch m k"]:
    """A B in the precision of A; in float32 where that is coarser.

    Args:
        A: a batch of matrices.
        B: as many, of any precision.
    """
    B = B.to(A.dtype)
    # A batch of one is multiplied as a matrix: batched bfloat16 products with A transposed take seven times as long.
    if len(A) > 1:
        AB = A @ B
    elif A.stride(-1) == 1:
        AB = (A[0] @ B[0])[None]
    else:  # of a transposed A, from the other side: a quarter less time
        AB = (B[0].mT @ A[0].mT).mT[None]
    return AB.float() if A.dtype == torch.bfloat16 else AB
