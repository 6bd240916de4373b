"""The input Gram matrix of a set of updates, and the gradient of WUDI that it gives.

WUDI (Cheng et al., ICML 2025) minimises f(M) = sum_i c_i ||(M - D_i) D_i'||_F^2 with c_i = w_i / ||D_i||_F^2.
With H = sum_i c_i D_i'D_i and R = sum_i c_i D_i D_i'D_i the gradient is 2 (M H - R): one product with a
d_in x d_in matrix where the definition needs two for every update.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

_BLOCKS = 4
"""Column blocks of the symmetric product: 10 of its 16 blocks are computed, the others mirrored."""


def coefficients(updates: Sequence[Tensor], weights: Float[Tensor, " m"]) -> list[float]:
    """c_i = w_i / ||D_i||_F^2; 0 for a zero update, with which no merge can interfere."""
    norms = [torch.linalg.vector_norm(D, dtype=torch.float64).item() for D in updates]
    return [w / n**2 if n > 0 else 0.0 for w, n in zip(weights.tolist(), norms, strict=True)]


def input_gram(updates: Sequence[Tensor], c: Sequence[float]) -> Float[Tensor, "d_in d_in"]:
    """H = sum_i c_i D_i'D_i, symmetric, of trace sum_i w_i."""
    d_in = updates[0].shape[1]
    H = updates[0].new_zeros(d_in, d_in)
    bounds = [n * d_in // _BLOCKS for n in range(_BLOCKS + 1)]
    for start, stop in pairwise(bounds):
        here, onwards = slice(start, stop), slice(start, d_in)
        for c_i, D in zip(c, updates, strict=True):
            H[here, onwards].addmm_(D[:, here].mT, D[:, onwards], alpha=c_i)
        H[stop:, here] = H[here, stop:].mT
    return H


def half_gradient(
    M: Float[Tensor, "d_out d_in"], updates: Sequence[Tensor], c: Sequence[float]
) -> Float[Tensor, "d_out d_in"]:
    """M H - R = sum_i c_i (M - D_i) D_i'D_i, half of the gradient at M, by the definition.

    The differences are taken first: M H and R agree in their leading digits.
    """
    total = torch.zeros_like(M)
    wide = M.shape[0] <= M.shape[1]
    for c_i, D in zip(c, updates, strict=True):
        off = M - D
        if wide:
            total.addmm_(off @ D.mT, D, alpha=c_i)
        else:
            total.addmm_(off, D.mT @ D, alpha=c_i)
    return total
