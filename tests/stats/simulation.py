"""Panels of runs and steps whose truth is known, and how often intervals and p-values keep their word on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geodiag.stats import Design, ResamplingSettings, correlate
from tests.stats.samples import textbook


@dataclass(frozen=True)
class Panel:
    """Normal signal and target: run effects (their share of the variance is `icc`), steps, and a shared trend."""

    within: float = 0.0
    between: float = 0.0
    icc: float = 0.5
    trend: float = 0.0
    ragged: bool = False
    runs: int = 20
    steps: int = 10

    def draw(self, rng: np.random.Generator, *, runs: int | None = None):
        """Signal, target, run and step of each row."""
        count = self.runs if runs is None else runs
        effects = _pairs(rng, count, self.between) * np.sqrt(self.icc)
        noise = _pairs(rng, count * self.steps, self.within) * np.sqrt(1 - self.icc)
        run, step = np.divmod(np.arange(count * self.steps), self.steps)
        drift = self.trend * (step - step.mean()) / np.arange(self.steps).std()
        both = effects[run] + noise + drift[:, None]
        kept = step < self._lengths(count)[run]
        return both[kept, 0], both[kept, 1], run[kept], step[kept]

    def _lengths(self, count: int):
        """All steps, or a third of the runs each with all, 8 and 6 tenths of them."""
        shares = np.array([1.0, 0.8, 0.6]) if self.ragged else np.ones(1)
        return np.round(self.steps * shares).astype(int)[np.arange(count) % len(shares)]

    def truth(self, statistic: str, rng: np.random.Generator, *, runs: int = 4000) -> float:
        """The statistic over very many runs, by its textbook definition."""
        return textbook(statistic, *self.draw(rng, runs=runs))


def _pairs(rng: np.random.Generator, count: int, rho: float):
    first, second = rng.standard_normal((2, count))
    return np.stack([first, rho * first + np.sqrt(1 - rho**2) * second], axis=1)


@dataclass(frozen=True)
class Kept:
    """Shares of replicates."""

    jackknife: float
    percentile: float
    whole_run: float
    free: float


def replicate(panel: Panel, statistic: str, *, replicates: int, seed: int, settings: ResamplingSettings) -> Kept:
    """How often intervals hold the truth, and p-values fall below 5 %."""
    rng = np.random.default_rng(seed)
    truth = panel.truth(statistic, rng)
    held = np.zeros((replicates, 4))
    for row in held:
        x, y, run, step = panel.draw(rng)
        design = Design.from_labels(run, steps=step)
        found = correlate(x, y, design, statistic=statistic, settings=settings, rng=rng)
        row[0] = found.low.item() <= truth <= found.high.item()
        row[1] = found.percentile_low.item() <= truth <= found.percentile_high.item()
        row[2] = found.p_whole_run.item() <= 0.05
        row[3] = found.p_free.item() <= 0.05
    return Kept(*held.mean(axis=0))
