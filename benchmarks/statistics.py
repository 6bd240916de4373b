"""A full table of correlations against loops over scipy.stats.spearmanr, and its memory at 100,000 rows."""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from scipy.stats import spearmanr

from benchmarks.processes import measure
from geodiag.stats import Design, ResamplingSettings, correlate

SIGNALS, TARGETS, RESAMPLES, PERMUTATIONS = 12, 7, 2000, 3000
FULL = ResamplingSettings(
    resamples=RESAMPLES, permutations=PERMUTATIONS, least_runs=2, least_runs_percentile=2, unequal="common"
)
Panel = tuple[np.ndarray, np.ndarray, Design, dict[str, np.ndarray]]


def main() -> None:
    """Prints seconds, ratios and peak memory."""
    print(f"{SIGNALS} signals x {TARGETS} targets, {RESAMPLES} resamples, {PERMUTATIONS} free shuffles,")
    print(f"{PERMUTATIONS} whole-run permutations, jackknife; 20 runs; all rows, 5 sizes, 4 methods")
    panel = steps_panel()
    ours = table(panel)
    pairwise, matrix = (loop_seconds(panel, call) for call in (pair_by_pair, all_pairs))
    print(f"250 rows, one call: {ours:.2f} s (best of 3)")
    print(f"250 rows with gaps in 3 + 2 patterns: {table(with_gaps(panel)):.2f} s")
    print("loops over scipy.stats.spearmanr, extrapolated from 40 draws a group:")
    for name, seconds in (("one call a pair", pairwise), ("one call a draw, all pairs", matrix)):
        print(f"  {name}: {seconds:.0f} s, {seconds / ours:.0f} times as long", flush=True)
    print("many rows of 20 runs, one group, each alone in a process (start and imports included):")
    for rows, free in ((1000, False), (100_000, False), (100_000, True)):
        started = measure("-m", "benchmarks.statistics", str(rows), str(int(free)))
        what = "all" if free else "all but free shuffles"
        print(f"  {rows} rows, {what}: {started.seconds:.1f} s, peak {started.peak_bytes / 2**30:.2f} GB", flush=True)
    print(f"  arrays alone at 100,000 rows (tracemalloc): {traced_peak(100_000) / 2**30:.2f} GB")


def steps_panel() -> Panel:
    """250 rows: ten runs of 12 steps, ten of 13."""
    return panel([12, 13] * 10)


def panel(lengths: list[int]) -> Panel:
    """Signals, targets, design and groups of runs of these lengths."""
    rng = np.random.default_rng(0)
    run = np.repeat(np.arange(len(lengths)), lengths)
    step = np.concatenate([np.arange(n) for n in lengths])
    shared = rng.normal(size=(len(lengths), SIGNALS + TARGETS))[run] + 0.05 * step[:, None] / max(lengths)
    values = shared + rng.normal(size=shared.shape)
    groups = {"all": np.ones(len(run), bool)}
    groups |= {f"size {i}": run % 5 == i for i in range(5)} | {f"method {i}": run // 5 == i for i in range(4)}
    return values[:, :SIGNALS], values[:, SIGNALS:], Design.from_labels(run, steps=step), groups


def with_gaps(given: Panel) -> Panel:
    """The same with signals and targets that start later, and two signals missing here and there."""
    x, y, design, groups = given
    x, y = x.copy(), y.copy()
    step = design.steps
    x[step == 0, 3:] = np.nan
    x[::17, 10:] = np.nan
    y[step == 0, 2:] = np.nan
    return x, y, design, groups


def table(given: Panel) -> float:
    """Best of three runs of the one call, in seconds."""
    x, y, design, groups = given
    times = []
    for seed in range(3):
        start = time.perf_counter()
        correlate(x, y, design, groups=groups, settings=FULL, rng=seed)
        times.append(time.perf_counter() - start)
    return min(times)


def pair_by_pair(x: np.ndarray, y: np.ndarray) -> None:
    """One call for every pair of columns."""
    for s in range(x.shape[1]):
        for k in range(y.shape[1]):
            spearmanr(x[:, s], y[:, k])


def all_pairs(x: np.ndarray, y: np.ndarray) -> None:
    """One call for all columns."""
    spearmanr(x, y)


def loop_seconds(given: Panel, call: Callable[[np.ndarray, np.ndarray], None], *, measured: int = 40) -> float:
    """What the loop would take, from a few draws in every group."""
    x, y, _, groups = given
    rng, total = np.random.default_rng(0), 0.0
    for mask in groups.values():
        rows = np.flatnonzero(mask)
        start = time.perf_counter()
        for _ in range(measured):
            drawn = rng.choice(rows, len(rows))
            call(x[drawn], y[drawn])
        total += (time.perf_counter() - start) / measured * (RESAMPLES + 2 * PERMUTATIONS)
    return total


def large(rows: int, *, free: bool) -> None:
    """One table of many rows: layers and pairs of 20 runs."""
    x, y, design, _ = panel([rows // 20] * 20)
    correlate(x, y, design, settings=ResamplingSettings(free=free))


def traced_peak(rows: int) -> int:
    """Most bytes that arrays held at once, without the free shuffles."""
    tracemalloc.start()
    large(rows, free=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


if __name__ == "__main__":
    if len(sys.argv) == 3:
        large(int(sys.argv[1]), free=bool(int(sys.argv[2])))
    else:
        main()
