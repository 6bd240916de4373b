"""The default spectrum against the full SVD and torch.svd_lowrank(q = 40, niter = 2) on power-law spectra."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.models import power_law
from geodiag.geometry import product_dtype
from geodiag.geometry.spectrum import exact_right_vectors, krylov_right_vectors

KEPT = 32


def main() -> None:
    """Prints the share of the true top-32 subspace that each recovers, and its time."""
    print(f"share of the true top-{KEPT} right subspace recovered, and seconds (median of 5; full SVD once)")
    print(f"{'shape':>12} {'decay':>6} {'krylov':>10} {'lowrank':>10} {'s krylov':>9} {'s lowrank':>10} {'s full':>7}")
    for shape in ((3072, 1024), (1024, 3072)):
        for decay in (0.3, 0.7):
            D, V = power_law(shape, decay, seed=1)
            truth = V[:, :KEPT].double()
            rough = product_dtype(shape, D.device)  # as an extraction searches: bfloat16 where the device has it
            krylov, t_krylov = timed(
                lambda D=D, rough=rough: krylov_right_vectors(D[None], k=KEPT + 8, rough=D[None].to(rough))[1][0]
            )
            lowrank, t_lowrank = timed(lambda D=D: torch.svd_lowrank(D, q=KEPT + 8, niter=2)[2])
            _, t_full = timed(lambda D=D: exact_right_vectors(D[None], k=KEPT)[1][0], repeats=1)
            print(
                f"{shape[0]:>7}x{shape[1]} {decay:>5} {share(krylov, truth):>10.5%} {share(lowrank, truth):>10.2%}"
                f" {t_krylov:>9.3f} {t_lowrank:>10.3f} {t_full:>7.2f}",
                flush=True,
            )


def share(V: Tensor, truth: Tensor) -> float:
    """|| V'truth ||_F^2 / 32, in [0, 1]."""
    return float((V[:, :KEPT].double().T @ truth).square().sum()) / KEPT


def timed(call: Callable[[], Tensor], *, repeats: int = 5) -> tuple[Tensor, float]:
    """The result and the median time."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return result, sorted(times)[len(times) // 2]


if __name__ == "__main__":
    main()
