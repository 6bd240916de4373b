"""Eigenproblems of a few hundred columns, which are quickest on one thread.

On the CPU a threaded LAPACK waits for its threads longer than it computes on such matrices: 28 symmetric
eigenproblems of 160 columns took 0.13 s on one of two threads and 30 s on both while other processes held
the cores. Batches on a GPU are left to its own solvers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor


def eigh(A: Float[Tensor, "*batch n n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch n n"]]:
    """Eigenvalues in rising order and eigenvectors of symmetric matrices."""
    with one_thread(when=not A.is_cuda):
        values, vectors = torch.linalg.eigh(A)
    return values, vectors


def eigvalsh(A: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n"]:
    """Eigenvalues of symmetric matrices in rising order."""
    with one_thread(when=not A.is_cuda):
        return torch.linalg.eigvalsh(A)


def svdvals(A: Float[Tensor, "*batch m n"]) -> Float[Tensor, "*batch k"]:
    """Singular values in falling order."""
    with one_thread(when=not A.is_cuda):
        return torch.linalg.svdvals(A)


def svd(
    A: Float[Tensor, "*batch m n"],
) -> tuple[Float[Tensor, "*batch m k"], Float[Tensor, "*batch k"], Float[Tensor, "*batch k n"]]:
    """The thin singular value decomposition, values in falling order."""
    with one_thread(when=not A.is_cuda):
        U, s, Vh = torch.linalg.svd(A, full_matrices=False)
    return U, s, Vh


def qr_r(A: Float[Tensor, "*batch m n"]) -> Float[Tensor, "*batch k n"]:
    """R of the QR decomposition, without Q."""
    with one_thread(when=not A.is_cuda):
        return torch.linalg.qr(A, mode="r").R


@contextmanager
def one_thread(*, when: bool) -> Iterator[None]:
    """Keeps torch to one thread inside the block, where `when` holds."""
    threads = torch.get_num_threads()
    if not when or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
