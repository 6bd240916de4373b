"""Products of the WUDI objective: input Gram matrix, and products along a slowly changing path."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from geodiag.geometry import numerics as small
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
PROBES = 16
"""Columns of the sketch: the measured error is within some 10 % of the true one on matrices of 64 rows or more."""
KEPT = 4
"""Products kept to predict the next from."""
_DEPTH = 5
"""Steps of the block iteration that finds the directions. They need not be exact: T is what they leave."""


class PathProduct:
    """X -> X H for the X of one path, which starts at 0.

    Args:
        updates: D_i of H = sum_i c_i D_i'D_i, (d_out, d_in).
        c: their coefficients.
        directions: how many columns V has.
        seed: of the probes.
    """

    def __init__(
        self, updates: Sequence[Tensor], c: Sequence[float], *, directions: int = PATH_DIRECTIONS, seed: int = 0
    ) -> None:
        self._updates, self._c = updates, c
        stacked = torch.cat([D * c_i**0.5 for c_i, D in zip(c, updates, strict=True)])
        self._V, self._values, self._shift = _top(stacked, directions)
        generator = torch.Generator().manual_seed(seed)  # on the CPU: the same probes on every device
        self._W = torch.randn(stacked.shape[1], PROBES, generator=generator).to(stacked)
        HW = stacked.mT @ (stacked @ self._W)
        TW = HW - self._V @ (self._values[:, None] * (self._V.mT @ self._W)) - self._shift * self._W
        self._sides = torch.cat([self._V, TW], dim=1)
        self._T: Tensor | None = None
        self._known: Tensor | None = None  # (KEPT, d_out, d_in): X_j T
        self._sketches: list[Tensor] = []  # X_j T W, in the same order
        self.products = 0
        """How often X has been multiplied with T."""

    def add_to(self, target: Tensor, X: Tensor, *, allowed: float, out: Tensor) -> float:
        """Writes target + X H to `out`.

        Args:
            target, X, out: (d_out, d_in); X is the path's next point.
            allowed: the error, as a Frobenius norm, that a prediction may have.

        Returns:
            The error's norm, as measured.
        """
        sides = X @ self._sides
        coordinates, sketch = sides[:, : self._V.shape[1]], sides[:, self._V.shape[1] :]
        a, error = self._predict(sketch)
        if error > allowed:
            self._multiply(X)
            a, error = self._predict(sketch)
        torch.add(target, X, alpha=self._shift, out=out)
        if self._known is not None:
            known = self._known[: len(a)].flatten(1)
            out.view(-1).addmv_(known.mT, a.to(out.dtype))
        out.addmm_(coordinates * self._values, self._V.mT)
        return error

    def _predict(self, sketch: Float[Tensor, "d_out p"]) -> tuple[Float[Tensor, " kept"], float]:
        """The combination of known products nearest to X T, and its measured distance."""
        y = sketch.double().flatten()
        A = torch.stack([known.double().flatten() for known in self._sketches] or [torch.zeros_like(y)], dim=1)
        with small.one_thread(when=not A.is_cuda):
            a = torch.linalg.pinv(A, rtol=1e-7) @ y
        return a[: len(self._sketches)], ((y - A @ a).norm() / PROBES**0.5).item()

    def _multiply(self, X: Float[Tensor, "d_out d_in"]) -> None:
        """Adds X T to what is known, in place of the oldest."""
        if self._T is None or self._known is None:
            self._T = input_gram(self._updates, self._c).addmm_(self._V * self._values, self._V.mT, alpha=-1)
            self._T.diagonal().sub_(self._shift)
            self._known = X.new_empty(KEPT, *X.shape)
        place = self.products % KEPT
        torch.mm(X, self._T, out=self._known[place])
        self._sketches[place : place + 1] = [self._known[place] @ self._W]
        self.products += 1


def _top(stacked: Float[Tensor, "rows d_in"], k: int) -> tuple[Float[Tensor, "d_in k"], Float[Tensor, " k"], float]:
    """V, l and mu of H = A'A."""
    s, V = krylov_right_vectors(stacked[None], k=k, block=-(-k // (_DEPTH - 1)), depth=_DEPTH)
    total = torch.linalg.vector_norm(stacked, dtype=torch.float64).square()
    shift = ((total - s.square().sum()) / max(1, stacked.shape[1] - k)).item()
    return V[0].to(stacked.dtype), (s[0].square() - shift).to(stacked.dtype), shift
