"""Differences of two signals' absolute correlations with a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from geodiag.errors import SettingsError
from geodiag.stats.design import Design, complete_rows, first_reason, unexplained
from geodiag.stats.estimates import Block, Resampled, examine, interval_pair, resample
from geodiag.stats.grid import Columns
from geodiag.stats.resampling import Draws, ResamplingSettings
from geodiag.stats.results import Differences, empty_arrays
from geodiag.stats.statistics import Statistic, find_statistic


def compare(
    signals: ArrayLike,
    targets: ArrayLike,
    design: Design,
    *,
    pairs: Sequence[tuple[int, int]],
    statistic: str = "spearman",
    controls: ArrayLike | None = None,
    groups: Mapping[str, ArrayLike] | None = None,
    settings: ResamplingSettings | None = None,
    rng: np.random.Generator | int = 0,
) -> Differences:
    """Differences |rho(a, y)| - |rho(b, y)| on the rows complete in all three, with intervals over runs.

    Both signals share the resamples, so that their common variation cancels. The jackknife works on the difference
    itself. Near rho = 0 the absolute value bends, and both intervals are wide rather than exact.

    Args:
        signals: shape (n, S).
        targets: shape (n, K).
        design: which run, step and cluster each row belongs to.
        pairs: columns (a, b) of `signals`.
        statistic: see `correlate`.
        controls: columns to hold fixed, shape (n, C).
        groups: names and row masks; default: one group `all`.
        settings: draws, level, fewest runs.
        rng: a seed or a generator.

    Raises:
        SettingsError: as `correlate`; or a pair names a column that is not there.
    """
    columns = Columns.of(signals, targets, controls, design)
    _check_pairs(pairs, columns.signals.shape[1])
    chosen, used, draws = find_statistic(statistic), settings or ResamplingSettings(), Draws(rng)
    masks = columns.groups(groups)
    arrays = empty_arrays(Differences, (len(masks), len(pairs), columns.targets.shape[1]))
    for (q, rows), (p, pair) in product(enumerate(masks.values()), enumerate(pairs)):
        both = columns.only_signals(pair)
        present = rows & ~np.isnan(both.signals).any(axis=1)
        for complete in complete_rows(both.signals, both.targets, among=present):
            values = _pair_arrays(both.block(complete), chosen, settings=used, draws=draws)
            for name, value in values.items():
                arrays[name][q, p, complete.targets] = value
    return Differences(groups=tuple(masks), pairs=tuple((int(a), int(b)) for a, b in pairs), **arrays)


def _check_pairs(pairs: Sequence[tuple[int, int]], signals: int) -> None:
    for pair in pairs:
        if len(pair) != 2 or not all(0 <= column < signals for column in pair):
            raise SettingsError(f"pair {pair} of signals", fix=f"two columns from 0 to {signals - 1}")


def _pair_arrays(block: Block, statistic: Statistic, *, settings: ResamplingSettings, draws: Draws) -> dict[str, Any]:
    """The arrays of one pair of signals for targets complete on the same rows, each of shape (K,)."""
    examined = examine(block, statistic)
    reason = first_reason(*examined.reason)
    arrays: dict[str, Any] = {"rows": examined.rows, "runs": examined.runs, "reason": reason}
    if examined.prepared is None or not unexplained(reason).any():
        return arrays | {"interval_reason": reason, "percentile_reason": reason}
    sample = resample(examined.prepared, block.shape, settings=settings, draws=draws)
    # |rho_a| - |rho_b| of the sample, without each cluster, and in each resample
    gap = Resampled(*(np.abs(rho[..., 0, :]) - np.abs(rho[..., 1, :]) for rho in astuple(sample)))
    jackknife, percentile = interval_pair(gap, examined.runs, settings=settings, fisher=False)
    return arrays | {
        "first": sample.estimate[0],
        "second": sample.estimate[1],
        "difference": gap.estimate,
        "low": jackknife.low,
        "high": jackknife.high,
        "percentile_low": percentile.low,
        "percentile_high": percentile.high,
        "dropped": np.where(unexplained(reason), percentile.dropped, 0),
        "interval_reason": first_reason(reason, jackknife.reason),
        "percentile_reason": first_reason(reason, percentile.reason),
    }
