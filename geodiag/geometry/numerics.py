"""Devices, the precision of large products, and small eigenproblems on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from geodiag.errors import SettingsError


def pick_device(name: str) -> torch.device:
    """The torch device of `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:<n>`.

    Raises:
        SettingsError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(
            f"unknown device {name!r}", where="--device", fix="one of auto, cpu, cuda, cuda:<n>"
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"device {name!r} is not there ({torch.cuda.device_count()} CUDA devices are)",
            where="--device",
            fix="use auto or cpu",
        )
    return device


SMALL_LAYER = 512 * 512
"""Entries up to which a layer is computed in full precision on one thread, because its products cost little."""


def product_dtype(shape: tuple[int, int], device: torch.device) -> torch.dtype:
    """The dtype of large products on a device: bfloat16 where it has such arithmetic, else float32.

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
    supported = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(supported.get("avx512_bf16") or supported.get("amx_bf16"))


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
