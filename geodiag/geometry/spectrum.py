"""The truncated right spectrum of an update: its top right singular vectors and values.

Symbols
    D          (batch, d_out, d_in)  updates of one shape
    V, s       (d_in, k), (k)        right singular vectors and values, falling
    X, Q, Y                          block, orthonormal basis of the block Krylov space, and D Q
    U          (d_out, k)            left singular vectors of D within span(Y)
    w, W                             eigenvalues and eigenvectors of a small Gram matrix
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geodiag.geometry import numerics
from geodiag.geometry.change import thin_right_vectors
from geodiag.geometry.numerics import product

KRYLOV_BLOCK, DEPTH = 32, 6
"""Columns a step, and steps, of the block Krylov iteration: a basis of 192 columns."""
NEGLIGIBLE = 1e-6
"""Singular values under this share of the largest are rounding in single precision, and count as zero."""
WEAK = 1 / 8
"""Singular values under this share of the largest are measured once more. The components of stronger directions that a
search in bfloat16 leaves in the left vector of a weaker one shorten its value by up to 7e-5 at 1/8, and by the square
of the range beyond: 3e-4 at 1/16, 1e-3 at 1/31 (the worst case seen: twenty directions of each of two lengths)."""
_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Spectrum:
    """Truncated right spectra of a batch of updates, padded with zeros to one width."""

    V: Float[Tensor, "*batch d_in k"]
    """Right singular vectors, float64; columns from `rank` on are zero."""
    s: Float[Tensor, "*batch k"]
    """Singular values in falling order, float64; zero from `rank` on."""
    rank: Int[Tensor, "*batch"]
    """How many directions were kept; 0 for an update without geometry."""
    s_1: Float[Tensor, "*batch"]
    """The largest singular value, before any truncation."""
    energy_kept: Float[Tensor, "*batch"]
    """sum_{k<=rank} s_k^2 / ||D||_F^2, in [0, 1]; NaN for a zero update."""


def right_spectrum(
    D: Float[Tensor, "batch d_out d_in"],
    norm: Float[Tensor, " batch"],
    *,
    rank: int,
    energy: float,
    lam: float,
    energy_of: str = "total",
    method: str = "krylov",
    rough: Float[Tensor, "batch d_out d_in"] | None = None,
    seed: int = 0,
) -> Spectrum:
    """Top right singular vectors and values of each D, truncated as the paper does (arXiv 2605.09608, App. B).

    Kept are r = min(rank, smallest r with sum_{k<=r} s_k^2 >= energy * total) directions, and of those the ones
    with s_k^2 > lam.

    Args:
        D: updates of one shape.
        norm: ||D||_F of each, float64.
        rank: the most directions kept.
        energy: the share of the total squared energy to reach, in (0, 1].
        lam: the regulariser lambda; directions at or under it are no geometry.
        energy_of: the total: `total` ||D||_F^2, or `sketch`, the sum of the top rank + 8 values (the
            released analyzer's, which depends on how they were computed).
        method: `exact` (full SVD in float64), `krylov` (seeded block Krylov iteration in the precision of D), or
            `thin` (exact as well, for the few rows of `geodiag.geometry.change.right_factor`).
        rough: D in a coarser precision, for the iteration's search (`geodiag.geometry.numerics`); None is D itself.
        seed: of the iteration's starting block; the same for every update, so results do not depend on batching.
    """
    k = min(rank + 8, *D.shape[-2:])
    if method == "exact":
        s, V = exact_right_vectors(D, k=k)
    elif method == "thin":
        s, V = thin_right_vectors(D, k=k)
    else:
        s, V = krylov_right_vectors(D, k=k, rough=rough, seed=seed)
    total = norm.square() if energy_of == "total" else s.square().sum(-1)
    kept = truncate(s, total, rank=rank, energy=energy, lam=lam)
    width = min(rank, k)
    mask = torch.arange(width, device=D.device) < kept[:, None]
    s_kept = s[:, :width] * mask
    return Spectrum(
        V=V[..., :width] * mask[:, None, :],
        s=s_kept,
        rank=kept,
        s_1=s[:, 0],
        energy_kept=(s_kept.square().sum(-1) / norm.square()).clamp(max=1.0),
    )


def spectrum_columns(shape: tuple[int, int], *, rank: int, method: str = "krylov") -> float:
    """The products of one `right_spectrum`, as the number of columns that an update is multiplied with.

    The block Krylov iteration multiplies D and its transpose with BLOCK columns DEPTH times and its transpose with
    rank + 8 once more; D as well where there are weak directions, which is counted. Where the iteration would span
    the whole smaller side n of m x n, a Gram matrix does it, n columns and n more; a full SVD takes about
    6 m n^2 + 20 n^3 operations (Golub & Van Loan, 4th ed., Sec. 8.6.3).

    Args:
        shape: (d_out, d_in); a column is 2 d_out d_in operations.
        rank: the most directions kept.
        method: `exact` or `krylov`.
    """
    n, m = sorted(shape)
    if method == "exact":
        return 3 * n + 10 * n * n / m
    k = min(rank + 8, n)
    return 2.0 * n if _spans_all(shape, k=k) else 2.0 * (DEPTH * KRYLOV_BLOCK + k)


def _spans_all(shape: tuple[int, ...], *, k: int, block: int = KRYLOV_BLOCK, depth: int = DEPTH) -> bool:
    """Whether the iteration's space would be as wide as the matrix."""
    return max(block * depth, k) >= min(shape)


def truncate(
    s: Float[Tensor, "*batch k"], total: Float[Tensor, "*batch"], *, rank: int, energy: float, lam: float
) -> Int[Tensor, "*batch"]:
    """min(rank, smallest r with sum_{k<=r} s_k^2 >= energy * total), less those with s_k^2 <= lam.

    Args:
        s: singular values in falling order.
        total: the squared energy that `energy` is a share of.
        rank, energy, lam: as in `right_spectrum`.
    """
    # smallest r with s_1^2 + ... + s_r^2 >= energy * total
    s_sq = s.square()
    reached = s_sq.cumsum(-1) >= energy * total[..., None]
    enough = (~reached).sum(-1) + 1  # the cumulative sum rises, so the first True follows all the False
    return torch.minimum(enough.clamp(max=rank), (s_sq > lam).sum(-1))


def exact_right_vectors(
    D: Float[Tensor, "batch d_out d_in"], *, k: int
) -> tuple[Float[Tensor, "batch k"], Float[Tensor, "batch d_in k"]]:
    """The top k singular values and right vectors by a full SVD in float64."""
    _, s, Vh = torch.linalg.svd(D.double(), full_matrices=False)
    return s[:, :k], Vh[:, :k].mT


def krylov_right_vectors(
    D: Float[Tensor, "batch d_out d_in"],
    *,
    k: int,
    block: int = KRYLOV_BLOCK,
    depth: int = DEPTH,
    rough: Float[Tensor, "batch d_out d_in"] | None = None,
    seed: int = 0,
) -> tuple[Float[Tensor, "batch k"], Float[Tensor, "batch d_in k"]]:
    """The top k singular values and right vectors from a block Krylov space of D'D (Musco & Musco, 2015).

    The space spanned by [X, D'D X, ..., (D'D)^(depth-1) X] holds the top directions far better than the last
    of its blocks alone, which is what a subspace iteration of the same cost keeps. With Q a basis of it, the top
    left vectors U of D Q are sharpened by a step more: s and V are those of U'D. That step takes the vectors into the
    row space of D, so that even directions a thousand times weaker than the first are right to single precision
    whatever the rounding of the search. The length of D'u is not: components of stronger directions in u shorten it.
    Where there are weak directions (`WEAK`), s is that of D V instead.

    The search runs in the precision of `rough`, the products of the last step in that of D, small problems in
    float64. When the space would be as wide as the matrix, a dense eigenproblem of the smaller Gram matrix gives the
    answer at once.

    Args:
        D: the updates.
        k: how many directions, at most block * depth.
        block: columns a step.
        depth: steps.
        rough: D in a coarser precision; None is D itself.
        seed: of the starting block.

    Returns:
        s (falling) and V; zero from where values are negligible.
    """
    if _spans_all(D.shape[-2:], k=k, block=block, depth=depth):
        return _dense_right_vectors(D, k=k)
    # U: top left singular vectors of Y = D Q; then s and V are those of U'D
    _, U = _top_columns(_krylov_images(D if rough is None else rough, block=block, depth=depth, seed=seed), k=k)
    s, V = _top_columns(product(D.mT, U.to(D.dtype)).double(), k=k)
    weak = ((s > 0) & (s < WEAK * s[:, :1])).any(-1)
    if weak.any():
        s[weak], V[weak] = _within(D if weak.all() else D[weak], V[weak])
    return s, V


def _within(
    D: Float[Tensor, "batch d_out d_in"], X: Float[Tensor, "batch d_in k"]
) -> tuple[Float[Tensor, "batch k"], Float[Tensor, "batch d_in k"]]:
    """Singular values and right vectors of D in the span of the orthonormal or zero columns of X."""
    # (D X)'(D X) = R diag(s^2) R', and V = X R
    DX = product(D, X.to(D.dtype)).double()
    s_sq, R = numerics.eigh(DX.mT @ DX)
    s_sq = s_sq.flip(-1).clamp(min=0)
    kept = s_sq > NEGLIGIBLE**2 * s_sq[:, :1]
    return s_sq.sqrt() * kept, (X @ R.flip(-1)) * kept[:, None, :]


def _top_columns(
    Y: Float[Tensor, "batch n cols"], *, k: int
) -> tuple[Float[Tensor, "batch k"], Float[Tensor, "batch n k"]]:
    """The top k singular values and left vectors of Y in float64; both zero where negligible.

    The Gram matrix is in the precision of Y. In single precision that blurs directions a thousand times weaker than
    the first, which is enough for the search: the step after it takes them from D itself.
    """
    # Y'Y = W diag(w) W', and U = Y W diag(w)^-1/2
    w, W = numerics.eigh((Y.mT @ Y).double())
    w, W = w.flip(-1)[..., :k].clamp(min=0), W.flip(-1)[..., :k]
    kept = w > NEGLIGIBLE**2 * w[:, :1]
    U = (Y @ (W * (torch.where(kept, w, 1.0).rsqrt() * kept)[:, None, :]).to(Y.dtype)).double()
    # The columns of weak directions are orthogonal only up to rounding.
    return w.sqrt() * kept, U @ _inverse_root(U.mT @ U)


def _krylov_images(
    P: Float[Tensor, "batch d_out d_in"], *, block: int, depth: int, seed: int
) -> Float[Tensor, "batch d_out cols"]:
    """P Q for a basis Q of the block Krylov space, orthonormal to about single precision."""
    batch, d_out, d_in = P.shape
    generator = torch.Generator().manual_seed(seed)  # on the CPU: one start for every device
    start = torch.randn(d_out, block, generator=generator).to(P.device)
    X = product(P.mT, start.expand(batch, -1, -1))
    Q = X.new_zeros(batch, d_in, block * depth)
    Y = X.new_zeros(batch, d_out, block * depth)
    for j in range(depth):
        here = slice(j * block, (j + 1) * block)
        Q[..., here] = _orthonormal_against(X, Q[..., : j * block])
        Y[..., here] = product(P, Q[..., here])
        if j + 1 < depth:
            X = product(P.mT, Y[..., here])
    return Y


def _orthonormal_against(X: Float[Tensor, "batch n b"], Q: Float[Tensor, "batch n done"]) -> Float[Tensor, "batch n b"]:
    """Orthonormal columns of X less span(Q); the columns stay dependent where X is.

    What is left of a column within 1e-5 of its block's length is rounding, and normalising it would bring
    span(Q) back in, so it is dropped. Normalising the rest brings back rounding as many times larger as the rest is
    smaller than the block was: where that is more than a hundred times, it is projected out once more, and twice is
    enough (Kahan, Parlett).
    """
    length_sq = X.square().sum(-2).amax(-1).double()
    # X <- (I - Q Q') X, then X <- X (X'X)^-1/2
    X = X - Q @ (Q.mT @ X)
    w, U = numerics.eigh(X.double().mT @ X.double())
    keep = w > 1e-10 * length_sq.clamp(min=_TINY)[..., None]
    X = X @ _root(w, U, keep).to(X.dtype)
    again = (keep & (w < 1e-4 * length_sq[..., None])).any(-1)
    return torch.where(again[:, None, None], X - Q @ (Q.mT @ X), X) if again.any() else X


def _inverse_root(G: Float[Tensor, "batch b b"]) -> Float[Tensor, "batch b b"]:
    """G^(-1/2) of a Gram matrix on its numerical range, zero elsewhere."""
    w, U = numerics.eigh(G)
    return _root(w, U, w > 1e-10 * w[..., -1:].clamp(min=_TINY))


def _root(
    w: Float[Tensor, "batch b"], U: Float[Tensor, "batch b b"], keep: Bool[Tensor, "batch b"]
) -> Float[Tensor, "batch b b"]:
    """U diag(w)^(-1/2) U' of the eigenvalues that are kept."""
    return (U * (torch.where(keep, w, 1.0).rsqrt() * keep)[..., None, :]) @ U.mT


def _dense_right_vectors(
    D: Float[Tensor, "batch d_out d_in"], *, k: int
) -> tuple[Float[Tensor, "batch k"], Float[Tensor, "batch d_in k"]]:
    """Exact up to sqrt(eps) of the largest value: an eigenproblem of D'D, or of DD' when that is smaller."""
    wide = D.shape[-2] < D.shape[-1]
    A = D.double()
    s_sq, U = numerics.eigh(A @ A.mT if wide else A.mT @ A)
    s_sq, U = s_sq.flip(-1)[:, :k].clamp(min=0), U.flip(-1)[..., :k]
    if not wide:
        return s_sq.sqrt(), U
    # Of a negligible direction D'u is rounding, which lies anywhere: made a unit vector, it would mix with the others.
    kept = s_sq > NEGLIGIBLE**2 * s_sq[:, :1]
    V = A.mT @ (U * (torch.where(kept, s_sq, 1.0).rsqrt() * kept)[:, None, :])
    return s_sq.sqrt() * kept, V @ _inverse_root(V.mT @ V)
