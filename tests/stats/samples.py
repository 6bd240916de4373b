"""Panels with ties and gaps, and the textbook way of correlating them: expand the sample, rank it, correlate."""

from __future__ import annotations

import numpy as np
from scipy.stats import pearsonr, rankdata, spearmanr


def panel(seed: int, *, runs: int = 7, steps: int = 5, signals: int = 2, targets: int = 2, ties: bool = True):
    """Signals (n, S), targets (n, K), run and step of each row; runs differ in length, the rows are shuffled."""
    rng = np.random.default_rng(seed)
    run, step = np.divmod(np.arange(runs * steps), steps)
    kept = step < rng.integers(3, steps + 1, runs)[run]
    order = rng.permutation(np.flatnonzero(kept))
    run, step = run[order], step[order]
    values = rng.normal(size=(len(run), signals + targets)) + rng.normal(size=(runs, signals + targets))[run]
    values += 0.3 * step[:, None]
    if ties:
        values = np.round(values)
    return values[:, :signals], values[:, signals:], run, step


def expand(drawn, run):
    """Rows of the drawn runs, and a new run label for each time a run was drawn."""
    rows = [np.flatnonzero(run == r) for r in drawn]
    return np.concatenate(rows), np.repeat(np.arange(len(drawn)), [len(r) for r in rows])


def residual(scores, held):
    """What a least-squares fit on `held` leaves of `scores`."""
    return scores - held @ np.linalg.lstsq(held, scores, rcond=None)[0]


def dummies(labels):
    return (labels[:, None] == np.unique(labels)).astype(float)


def within(x, y, run):
    """Fractional ranks inside each run, pooled."""
    u, v = (np.empty(len(x)) for _ in range(2))
    for r in np.unique(run):
        rows = run == r
        for scores, values in ((u, x), (v, y)):
            scores[rows] = (rankdata(values[rows]) - (rows.sum() + 1) / 2) / rows.sum()
    return u @ v / np.sqrt(u @ u * (v @ v))


def between(x, y, run):
    return spearmanr(*([v[run == r].mean() for r in np.unique(run)] for v in (x, y)))[0]


def step_partial(x, y, step):
    held = dummies(step)
    return pearsonr(*(residual(rankdata(v), held) for v in (x, y)))[0]


def textbook(statistic, x, y, run, step):
    """The statistic on a sample that is written out."""
    return {
        "spearman": lambda: spearmanr(x, y)[0],
        "pearson": lambda: pearsonr(x, y)[0],
        "within": lambda: within(x, y, run),
        "between": lambda: between(x, y, run),
        "step_partial": lambda: step_partial(x, y, step),
    }[statistic]()
