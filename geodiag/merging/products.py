"""Products of the WUDI objective: input Gram matrix, and products along a slowly changing path.

D_i, c_i     updates (d_out, d_in), and their coefficients w_i / ||D_i||_F^2
H            sum_i c_i D_i'D_i, (d_in, d_in);  R = sum_i c_i D_i D_i'D_i
V, l, mu     H = V diag(l) V' + mu I + T: top directions (d_in, k), their eigenvalues less mu, and a shift
T            what this split leaves of H; products X T are predicted from those of earlier X on the path
W            random columns (d_in, p), with which the error of a prediction is measured
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from geodiag.geometry import numerics
from geodiag.geometry.spectrum import krylov_right_vectors

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


PATH_DIRECTIONS = 128
"""Top directions whose products are taken at every iteration."""
SKETCH_COLUMNS = 16
"""Random columns that measure the error of a prediction, within some 10 % on matrices of 64 rows or more."""
KEPT = 4
"""Products kept to predict the next from."""
_DEPTH = 5
"""Steps of the block iteration that finds the directions. They need not be exact: T is what they leave."""


class PathProduct:
    """The products X H for the points X of one path, which starts at 0.

    Args:
        updates: D_i of H = sum_i c_i D_i'D_i, (d_out, d_in).
        c: their coefficients.
        directions: how many columns V has.
        seed: of the random columns.
    """

    def __init__(
        self, updates: Sequence[Tensor], c: Sequence[float], *, directions: int = PATH_DIRECTIONS, seed: int = 0
    ) -> None:
        self._updates, self._c = updates, c
        stacked = torch.cat([D * c_i**0.5 for c_i, D in zip(c, updates, strict=True)])
        self._V, self._values, self._shift = _top(stacked, directions)
        generator = torch.Generator().manual_seed(seed)  # on the CPU: the same columns on every device
        self._W = torch.randn(stacked.shape[1], SKETCH_COLUMNS, generator=generator).to(stacked)
        # T W = H W - V diag(l) V'W - mu W
        HW = stacked.mT @ (stacked @ self._W)
        TW = HW - self._V @ (self._values[:, None] * (self._V.mT @ self._W)) - self._shift * self._W
        self._sides = torch.cat([self._V, TW], dim=1)
        self._T: Tensor | None = None
        self._kept: Tensor | None = None  # (KEPT, d_out, d_in): X_j T
        self._sketches: list[Tensor] = []  # X_j T W, in the same order
        self.products = 0
        """Number of products X T so far."""

    def add_to(self, target: Tensor, X: Tensor, *, allowed: float, out: Tensor) -> float:
        """Write target + X H to `out`.

        Args:
            target, X, out: (d_out, d_in); X is the path's next point.
            allowed: the error, as a Frobenius norm, that a prediction may have.

        Returns:
            The error's norm, as measured.
        """
        # X H = (X V) diag(l) V' + mu X + X T, with X T = sum_j a_j X_j T
        sides = X @ self._sides
        coordinates, sketch = sides[:, : self._V.shape[1]], sides[:, self._V.shape[1] :]
        a, error = self._predict(sketch)
        if error > allowed:
            self._multiply(X)
            a, error = self._predict(sketch)
        torch.add(target, X, alpha=self._shift, out=out)
        if self._kept is not None:
            out.view(-1).addmv_(self._kept[: len(a)].flatten(1).mT, a.to(out.dtype))
        out.addmm_(coordinates * self._values, self._V.mT)
        return error

    def _predict(self, sketch: Float[Tensor, "d_out p"]) -> tuple[Float[Tensor, " kept"], float]:
        """The combination of kept products nearest to X T, and its measured distance."""
        y = sketch.double().flatten()
        A = torch.stack([kept.double().flatten() for kept in self._sketches] or [torch.zeros_like(y)], dim=1)
        with numerics.one_thread(when=not A.is_cuda):
            a = torch.linalg.pinv(A, rtol=1e-7) @ y
        return a[: len(self._sketches)], ((y - A @ a).norm() / SKETCH_COLUMNS**0.5).item()

    def _multiply(self, X: Float[Tensor, "d_out d_in"]) -> None:
        """Computes X T and keeps it in place of the oldest product."""
        if self._T is None or self._kept is None:
            self._T = input_gram(self._updates, self._c).addmm_(self._V * self._values, self._V.mT, alpha=-1)
            self._T.diagonal().sub_(self._shift)
            self._kept = X.new_empty(KEPT, *X.shape)
        place = self.products % KEPT
        torch.mm(X, self._T, out=self._kept[place])
        self._sketches[place : place + 1] = [self._kept[place] @ self._W]
        self.products += 1


def _top(stacked: Float[Tensor, "rows d_in"], k: int) -> tuple[Float[Tensor, "d_in k"], Float[Tensor, " k"], float]:
    """V, l and mu of H = A'A."""
    s, V = krylov_right_vectors(stacked[None], k=k, block=-(-k // (_DEPTH - 1)), depth=_DEPTH)
    total = torch.linalg.vector_norm(stacked, dtype=torch.float64).square()
    shift = ((total - s.square().sum()) / max(1, stacked.shape[1] - k)).item()
    return V[0].to(stacked.dtype), (s[0].square() - shift).to(stacked.dtype), shift
