"""Gradient conflict: the angles between tasks' gradients, from their Gram matrix alone.

Symbols
    g_i   gradient of the loss of task i with respect to one layer's weight
    G     (m, m) Gram matrix, G_ij = <g_i, g_j>
    c_ij  cosine of g_i and g_j
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_CHUNK = 2**20
"""Entries widened to float64 at once."""


def gram_scratch_bytes(m: int, n: int) -> int:
    """Bytes that `gradient_gram` needs in addition to its operands, for m gradients of n entries."""
    return 8 * m * min(n, max(1, _CHUNK // m))


def gradient_gram(gradients: Float[Tensor, "m *shape"]) -> Float[Tensor, "m m"]:
    """G_ij = <g_i, g_j>, the Frobenius inner products of m gradients of one layer.

    Summed in float64 over pieces of the gradients, so that no second copy of them is made.

    Args:
        gradients: of any floating type; each is contiguous where no copy may be made.

    Returns:
        The symmetric (m, m) matrix in float64 on their device, in squared units of the gradient.
    """
    m = len(gradients)
    G = torch.zeros(m, m, dtype=torch.float64, device=gradients.device)
    for piece in torch.split(gradients.flatten(1), max(1, _CHUNK // m), dim=1):
        _add_gram(G, piece)
    return G


def _add_gram(G: Tensor, piece: Tensor) -> None:
    X = piece.double()
    G.addmm_(X, X.T)


def gradient_norms(G: Float[Tensor, "*batch m m"]) -> Float[Tensor, "*batch m"]:
    """||g_i||_F from the Gram matrix; at least 0."""
    return G.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()


def gradient_cosines(G: Float[Tensor, "*batch m m"]) -> Float[Tensor, "*batch m m"]:
    """c_ij = <g_i, g_j> / (||g_i|| ||g_j||), in [-1, 1]; NaN where either gradient is zero.

    Below 0, a small step that lowers the loss of one task raises the other's (Yu et al., 2020,
    arXiv 2001.06782).

    Args:
        G: Gram matrices from `gradient_gram`.
    """
    # c_ij = G_ij / (sqrt(G_ii) sqrt(G_jj))
    norm = gradient_norms(G)
    # Divided one after the other: the product of two small norms can underflow where their quotient does not.
    return (G / norm.unsqueeze(-1) / norm.unsqueeze(-2)).clamp(-1, 1)  # beyond only by rounding; clamp keeps NaN


def split_half_reliability(halves: Float[Tensor, "*batch 2 2"]) -> Float[Tensor, "*batch"]:
    """The cosine of the gradients of two halves of a task's probes, in [-1, 1]; NaN where a half is zero.

    Near 1 the gradient's direction is the task's. Near 0 it is mostly that of the examples drawn, and the sign
    of its cosine with another gradient may be chance: under independent sampling noise the cosine of two
    gradients shrinks by about sqrt(r_i r_j) of their reliabilities (Spearman, 1904).

    This is the reliability of HALF the probes. The Spearman-Brown formula 2r / (1 + r) would carry it over to
    all of them and is not applied, so that it errs on the side of doubt.

    Args:
        halves: the Gram matrix of the two halves' mean gradients.
    """
    return gradient_cosines(halves)[..., 0, 1]
