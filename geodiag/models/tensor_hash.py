"""A hash of a tensor's bits, computed where the tensor is."""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK = 2**22
_WIDTHS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_ODD = (0x9E3779B97F4A7C15 - 2**64, 0xC2B2AE3D27D4EB4F - 2**64)


def tensor_hash(tensor: Tensor) -> str:
    """32 hexadecimal digits that tell two tensors of one shape and dtype apart, bit by bit.

    Two sums modulo 2^64 of every entry's bits times an odd number of its place: any change of one entry changes them.
    Whole numbers add up in any order, so that every device gives the same.

    Args:
        tensor: of any shape and floating dtype.
    """
    flat = tensor.detach().contiguous().view(-1).view(_WIDTHS[tensor.element_size()])
    sums = [0, 0]
    for start in range(0, len(flat), _CHUNK):
        bits = flat[start : start + _CHUNK].long()
        place = torch.arange(start, start + len(bits), device=bits.device, dtype=torch.long)
        for n, odd in enumerate(_ODD):
            weights = (place * odd) ^ ((place * odd) >> 29) | 1
            sums[n] = (sums[n] + int((bits * weights).sum())) % 2**64
    return "".join(f"{value:016x}" for value in sums)
