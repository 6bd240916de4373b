"""The correlations as data: their scores and levels.

Each is a Pearson correlation of scores,

    rho(x, y) = sum_i w_i u_i v_i / sqrt(sum_i w_i u_i^2 * sum_i w_i v_i^2),

with u, v the scores of signal and target after the mean of each `level` and the scores of the control columns
have been regressed out. They differ only in the scores and the levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geodiag.errors import SettingsError
from geodiag.stats.design import Design, Floats, Ints
from geodiag.stats.ranks import ranks_inside


@dataclass(frozen=True)
class Prepared:
    """Complete rows, ready to be correlated."""

    values: Floats
    """Signals, targets and controls side by side, shape (n, S + K + C): raw values if `ranked`, else scores."""
    design: Design
    """The labels of these rows."""
    ranked: bool
    """Scores are the ranks of the values, recomputed in every resample; else they are the values."""
    levels: Ints | None
    """Labels whose means are removed from the scores, shape (n,)."""
    unit: str = "rows"
    """The noun for its rows: rows or runs."""


@dataclass(frozen=True)
class Statistic:
    """A correlation of a signal with a target."""

    name: str
    """Its name in `correlate`."""
    label: str
    """Its label in tables."""
    meaning: str
    """The question it answers, in one line."""
    prepare: Callable[[Floats, Design], Prepared]
    """From complete rows to scores."""
    moves_rows: bool
    """Whether shuffling single rows makes sense for it."""


def _spearman(values: Floats, design: Design) -> Prepared:
    return Prepared(values, design, ranked=True, levels=None)


def _step_partial(values: Floats, design: Design) -> Prepared:
    if design.steps is None:
        raise SettingsError("no steps to hold fixed", where="step_partial", fix="give steps=")
    return Prepared(values, design, ranked=True, levels=np.unique(design.steps, return_inverse=True)[1])


def _pearson(values: Floats, design: Design) -> Prepared:
    spread = values.std(axis=0)
    scale = np.where(spread > 1e-12 * np.abs(values).max(axis=0, initial=0.0), spread, np.inf)
    scores = (values - values.mean(axis=0)) / scale
    return Prepared(scores, design, ranked=False, levels=np.zeros(len(values), dtype=np.intp))


def _within(values: Floats, design: Design) -> Prepared:
    kept = (design.runs.sizes >= 2)[design.runs.codes]
    scores = ranks_inside(values[kept], design.runs.codes[kept])
    return Prepared(scores, design.take(kept), ranked=False, levels=None)


def _between(values: Floats, design: Design) -> Prepared:
    sums = np.zeros((design.runs.count, values.shape[1]))
    np.add.at(sums, design.runs.codes, values)
    means = sums / design.runs.sizes[:, None]
    # Equal means of runs of different length differ in the last bits; ranks must see them as tied.
    scale = np.abs(values).max(axis=0, initial=0.0)
    means = np.round(means / np.where(scale > 0, scale, 1.0), 12)
    return Prepared(means, design.by_run(), ranked=True, levels=None, unit="runs")


STATISTICS: dict[str, Statistic] = {
    s.name: s
    for s in (
        Statistic(
            "spearman",
            "Spearman",
            "Do signal and target rise together over all rows?",
            _spearman,
            moves_rows=True,
        ),
        Statistic(
            "within",
            "Within-run Spearman",
            "Does a run's own signal order its own steps? Average ranks inside each run, over the run's length.",
            _within,
            moves_rows=False,
        ),
        Statistic(
            "between",
            "Between-run Spearman",
            "Do runs with a higher mean signal have a higher mean target?",
            _between,
            moves_rows=False,
        ),
        Statistic(
            "step_partial",
            "Spearman at fixed step",
            "What is left when every step's mean rank is taken out of signal and target?",
            _step_partial,
            moves_rows=True,
        ),
        Statistic("pearson", "Pearson", "Is the relation linear in the values themselves?", _pearson, moves_rows=True),
    )
}


def find_statistic(name: str) -> Statistic:
    """The statistic of that name.

    Raises:
        SettingsError: there is none.
    """
    if name not in STATISTICS:
        raise SettingsError(f"unknown statistic {name!r}", fix=f"one of: {', '.join(STATISTICS)}")
    return STATISTICS[name]
