"""One GCWM merge of one layer of Qwen3-8B against its definition, both in float32 on the CPU.

The definition takes a full SVD of every update and, for each of its two WUDI solutions (plain and whitened), 2m
matrix products an iteration. At a sixteenth of the layer's entries both are measured whole, and their results
compared. At the layer's own size geodiag's merge is measured whole; of the definition one update's SVD and a few
iterations are, and scaled linearly to m updates and to all iterations: each does the same work.

Updates are differences of bfloat16 weights: power laws of unequal directions, and what rounding adds to them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from geodiag.geometry import Spectrum, frobenius_norm, right_spectrum, truncate
from geodiag.merging.metric import shared_metric
from geodiag.merging.products import coefficients
from geodiag.merging.rules.gcwm import GateSettings, MetricSettings, SpectrumSettings, gcwm, joined, mean_conflict
from geodiag.merging.rules.rule import RuleStats
from geodiag.merging.rules.wudi import WudiSettings

Result = TypeVar("Result")
SHAPE, SMALLER = (4096, 12288), (1024, 3072)  # down_proj
M, ITERATIONS, MEASURED = 3, 100, 2
WEIGHTS = torch.full((M,), 1 / M, dtype=torch.float64)
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
    """Prints the arithmetic of both, their times, and the ratio at both shapes."""
    print(f"one GCWM merge, m = {M}, rank 16, {ITERATIONS} Adam iterations, float32, {torch.get_num_threads()} threads")
    measure_whole(*SMALLER)
    measure_scaled(*SHAPE)


def measure_whole(d_out: int, d_in: int) -> None:
    """Both measured whole, and how far apart their results are."""
    tell_arithmetic(d_out, d_in)
    updates = make_updates(d_out, d_in)
    ours, (merged, stats) = timed(lambda: merge(updates))
    tell("geodiag", ours)
    tell_products(stats)
    full, (multiplied, _) = timed(lambda: merge(updates, tolerance=0.0))
    tell("geodiag, every product multiplied out (tolerance 0)", full)
    theirs, defined = timed(lambda: define(updates))
    tell("definition", theirs)
    tell_ratio(theirs, ours)
    start = sum(updates[1:], updates[0])
    for name, found in (("geodiag", merged), ("tolerance 0", multiplied)):
        off, way = (found - defined).norm().item(), (defined - start).norm().item()
        print(f"  {name}: off the definition by {off / defined.norm().item():.1e} of the merge,", end=" ")
        print(f"{off / way:.1e} of its way from the sum of the updates", flush=True)


def measure_scaled(d_out: int, d_in: int) -> None:
    """geodiag measured whole; of the definition an SVD and a few iterations, scaled."""
    tell_arithmetic(d_out, d_in)
    updates = make_updates(d_out, d_in)
    ours, (_, stats) = timed(lambda: merge(updates))
    tell("geodiag, measured whole", ours)
    tell_products(stats)
    svd, _ = timed(lambda: torch.linalg.svd(updates[0], full_matrices=False))
    tell("definition, full SVD of one update", svd)
    steps, _ = timed(lambda: iterate(updates, MEASURED))
    tell(f"definition, {MEASURED} iterations", steps)
    theirs = svd * M + steps * (2 * ITERATIONS / MEASURED)
    tell(f"definition, scaled to {M} SVDs and 2 x {ITERATIONS} iterations", theirs)
    tell_ratio(theirs, ours)


def merge(updates: list[Tensor], *, tolerance: float = WudiSettings().tolerance) -> tuple[Tensor, RuleStats]:
    """What `geodiag merge` does on a layer, from updates in memory."""
    D = torch.stack(updates)
    kept = SpectrumSettings()
    spectrum = right_spectrum(D, frobenius_norm(D), rank=kept.rank, energy=kept.energy, lam=kept.lam)
    solver = WudiSettings(iterations=ITERATIONS, tolerance=tolerance)
    return gcwm(updates, spectrum, WEIGHTS, lam=kept.lam, gate=GateSettings(), metric=MetricSettings(), solver=solver)


def define(updates: list[Tensor]) -> Tensor:
    """The same as defined: full SVDs, and both WUDI solutions by 2m products an iteration."""
    kept = SpectrumSettings()
    spectrum = joined([full_spectrum(D, kept) for D in updates])
    G, _ = shared_metric(spectrum, WEIGHTS, lam=kept.lam)
    share = GateSettings().share(mean_conflict(spectrum, WEIGHTS, lam=kept.lam))
    geometric = G.recolor(iterate([G.whiten(D) for D in updates], ITERATIONS))
    return share * geometric + (1 - share) * iterate(updates, ITERATIONS)


def full_spectrum(D: Tensor, kept: SpectrumSettings) -> Spectrum:
    """An update's truncated spectrum from all its singular values."""
    _, s, Vh = torch.linalg.svd(D, full_matrices=False)
    s, total = s.double(), frobenius_norm(D).square()
    rank = truncate(s[None], total[None], rank=kept.rank, energy=kept.energy, lam=kept.lam)
    mask = torch.arange(kept.rank) < rank
    top = s[: kept.rank] * mask
    V = Vh[: kept.rank].double().mT * mask
    return Spectrum(V[None], top[None], rank, s[:1], (top.square().sum() / total)[None])


def iterate(updates: list[Tensor], iterations: int) -> Tensor:
    """WUDI as defined: 2m products an iteration, less than autograd would take."""
    c = coefficients(updates, WEIGHTS)
    X = sum(updates[1:], updates[0].clone())
    X.grad = torch.empty_like(X)
    optimizer = torch.optim.Adam([X], lr=1e-5, fused=True)
    for _ in range(iterations):
        X.grad.zero_()
        for c_i, D in zip(c, updates, strict=True):
            X.grad.addmm_((X - D) @ D.mT, D, alpha=2 * c_i)
        optimizer.step()
    return X


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
    print(f"{d_out} x {d_in}", flush=True)
    print(f"  an iteration by definition: {2 * M} products, {definition / 1e12:.2f} TFLOP;", end=" ")
    print(f"by the Gram matrix: 1 product, {gram / 1e12:.2f} TFLOP; predicted: {split / 1e12:.3f} TFLOP")
    print(f"  all iterations by definition: {2 * ITERATIONS * definition / 1e12:.0f} TFLOP;", end=" ")
    print(f"one weight in float32: {4 * d_out * d_in / 2**30:.2f} GiB, H: {4 * d_in**2 / 2**30:.2f} GiB", flush=True)


def timed(call: Callable[[], Result]) -> tuple[Seconds, Result]:
    """The time it takes, and what it returns."""
    wall, processor = time.perf_counter(), time.process_time()
    result = call()
    return Seconds(time.perf_counter() - wall, time.process_time() - processor), result


def tell(what: str, taken: Seconds) -> None:
    """One line."""
    print(f"{what:>62}: {taken.wall:8.1f} s, processor {taken.processor:8.1f} s", flush=True)


def tell_products(stats: RuleStats) -> None:
    """How many products were multiplied out, and how far the predicted ones are off."""
    print(f"  {stats.products} of {2 * ITERATIONS} products multiplied out; gradient off by {stats.gradient_error:.1e}")


def tell_ratio(theirs: Seconds, ours: Seconds) -> None:
    """How many times the definition takes."""
    wall, processor = theirs.wall / ours.wall, theirs.processor / ours.processor
    print(f"  ratio {wall:.1f} of wall time, {processor:.1f} of processor time", flush=True)


if __name__ == "__main__":
    main()
