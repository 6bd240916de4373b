"""One GCWM merge of one layer of Qwen3-8B against its definition, both in float32 on the CPU.

The definition takes a full SVD of every update and, for each of its two WUDI solutions (plain and whitened), 2m
matrix products an iteration. One update's SVD and a few iterations of it are measured, and scaled linearly to m
updates and to all iterations: each does the same work. geodiag's merge is measured whole.

Updates are differences of bfloat16 weights: power laws of unequal directions, and what rounding adds to them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geodiag.geometry import frobenius_norm, right_spectrum
from geodiag.merging.gcwm import GateStats, gcwm
from geodiag.merging.gram import coefficients
from geodiag.merging.settings import GateSettings, MetricSettings, SpectrumSettings, WudiSettings

SHAPE = (4096, 12288)  # down_proj
M, ITERATIONS, MEASURED = 3, 100, 2
WEIGHT_RMS, UPDATE_RMS, DIRECTIONS = 0.02, 1e-4, 512


@dataclass(frozen=True)
class Seconds:
    """Of a stretch of work."""

    wall: float
    processor: float
    """Of all threads together."""

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.processor + other.processor)

    def __mul__(self, times: float) -> Seconds:
        return Seconds(self.wall * times, self.processor * times)


def main() -> None:
    """Prints the arithmetic of both, their times, and the ratio. A shape may be given: `4096 12288`."""
    d_out, d_in = map(int, sys.argv[1:3]) if __name__ == "__main__" and len(sys.argv) > 2 else SHAPE
    print(f"one GCWM merge: {d_out} x {d_in}, m = {M}, rank 16, {ITERATIONS} Adam iterations, float32,", end=" ")
    print(f"{torch.get_num_threads()} threads", flush=True)
    tell_arithmetic(d_out, d_in)
    updates = make_updates(d_out, d_in)
    ours, stats = timed(lambda: merge(updates))
    tell("geodiag, measured whole", ours)
    print(f"  {stats.products} of {2 * ITERATIONS} products multiplied out; gradient off by {stats.gradient_error:.1e}")
    svd, _ = timed(lambda: torch.linalg.svd(updates[0], full_matrices=False))
    tell("definition, full SVD of one update", svd)
    steps, _ = timed(lambda: iterate(updates, MEASURED))
    tell(f"definition, {MEASURED} iterations", steps)
    theirs = svd * M + steps * (2 * ITERATIONS / MEASURED)
    tell(f"definition, scaled to {M} SVDs and 2 x {ITERATIONS} iterations", theirs)
    print(
        f"ratio {theirs.wall / ours.wall:.1f} of wall time, {theirs.processor / ours.processor:.1f} of processor time"
    )


def merge(updates: list[Tensor]) -> GateStats:
    """What `geodiag merge` does on a layer, from updates in memory."""
    D = torch.stack(updates)
    kept = SpectrumSettings()
    spectrum = right_spectrum(D, frobenius_norm(D), rank=kept.rank, energy=kept.energy, lam=kept.lam)
    weights = torch.full((M,), 1 / M, dtype=torch.float64)
    solver = WudiSettings(iterations=ITERATIONS)
    return gcwm(updates, spectrum, weights, lam=kept.lam, gate=GateSettings(), metric=MetricSettings(), solver=solver)[
        1
    ]


def iterate(updates: list[Tensor], iterations: int) -> None:
    """WUDI as defined: 2m products an iteration, less than autograd would take."""
    c = coefficients(updates, torch.full((M,), 1 / M))
    X = sum(updates[1:], updates[0].clone())
    X.grad = torch.empty_like(X)
    optimizer = torch.optim.Adam([X], lr=1e-5, fused=True)
    for _ in range(iterations):
        X.grad.zero_()
        for c_i, D in zip(c, updates, strict=True):
            X.grad.addmm_((X - D) @ D.mT, D, alpha=2 * c_i)
        optimizer.step()


def make_updates(d_out: int, d_in: int) -> list[Tensor]:
    """m updates between bfloat16 weights, as a fine-tune leaves them: structure, and a floor of rounding."""
    g = torch.Generator().manual_seed(0)
    base = (WEIGHT_RMS * torch.randn(d_out, d_in, generator=g)).bfloat16().float()
    shared = torch.randn(DIRECTIONS, d_in, generator=g)
    updates = []
    for _ in range(M):
        U = torch.randn(d_out, DIRECTIONS, generator=g) * torch.arange(1, DIRECTIONS + 1) ** -0.5
        D = U @ (shared + torch.randn(DIRECTIONS, d_in, generator=g))
        moved = base + D * (UPDATE_RMS / D.square().mean().sqrt())
        updates.append(moved.bfloat16().float() - base)
    return updates


def tell_arithmetic(d_out: int, d_in: int) -> None:
    """Prints floating-point operations and bytes of one iteration, and of the definition's whole merge."""
    definition, gram = 4 * M * d_out**2 * d_in, 2 * d_out * d_in**2
    split = 4 * d_out * d_in * 136
    print(f"  an iteration by definition: {2 * M} products, {definition / 1e12:.2f} TFLOP;", end=" ")
    print(f"by the Gram matrix: 1 product, {gram / 1e12:.2f} TFLOP; predicted: {split / 1e12:.3f} TFLOP")
    print(f"  all iterations by definition: {2 * ITERATIONS * definition / 1e12:.0f} TFLOP;", end=" ")
    print(f"one weight in float32: {4 * d_out * d_in / 2**30:.2f} GiB, H: {4 * d_in**2 / 2**30:.2f} GiB", flush=True)


def timed(call: Callable[[], object]) -> tuple[Seconds, object]:
    """The time it takes, and what it returns."""
    wall, processor = time.perf_counter(), time.process_time()
    result = call()
    return Seconds(time.perf_counter() - wall, time.process_time() - processor), result


def tell(what: str, taken: Seconds) -> None:
    """One line."""
    print(f"{what:>62}: {taken.wall:8.1f} s, processor {taken.processor:8.1f} s", flush=True)


if __name__ == "__main__":
    main()
