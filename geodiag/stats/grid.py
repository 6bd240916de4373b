"""Correlations of signals with targets in groups of rows, and differences of two signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from geodiag.errors import SettingsError
from geodiag.stats.design import Bools, Complete, Design, Floats, as_columns, complete_rows, first_reason, unexplained
from geodiag.stats.estimates import Block, Resampled, examine, interval_pair, resample, solve
from geodiag.stats.moments import Shape
from geodiag.stats.resampling import Draws, ResamplingSettings
from geodiag.stats.results import CorrelationGrid, Differences, empty_arrays
from geodiag.stats.statistics import Statistic, find_statistic


@dataclass(frozen=True)
class Columns:
    """Signals, targets and controls as checked arrays, with their design."""

    signals: Floats
    """Shape (n, S)."""
    targets: Floats
    """Shape (n, K)."""
    controls: Floats
    """Shape (n, C)."""
    design: Design
    """The rows' labels."""

    @classmethod
    def of(cls, signals: ArrayLike, targets: ArrayLike, controls: ArrayLike | None, design: Design) -> Columns:
        """Check shapes and values."""
        n = len(design.runs.codes)
        return cls(
            as_columns(signals, where="signals", rows=n),
            as_columns(targets, where="targets", rows=n),
            np.empty((n, 0)) if controls is None else as_columns(controls, where="controls", rows=n),
            design,
        )

    def only_signals(self, chosen: Sequence[int]) -> Columns:
        """The same columns with some of the signals."""
        return replace(self, signals=self.signals[:, list(chosen)])

    def groups(self, masks: Mapping[str, ArrayLike] | None) -> dict[str, Bools]:
        """Rows of each group in which the controls are present; without groups, all of them as `all`."""
        present = np.atleast_1d(~np.isnan(self.controls).any(axis=1))
        chosen = {}
        for name, mask in (masks or {"all": np.ones(len(present), dtype=np.bool_)}).items():
            rows = np.asarray(mask)
            if rows.dtype != np.bool_ or rows.shape != present.shape:
                raise SettingsError(
                    f"mask of shape {rows.shape} and type {rows.dtype}",
                    where=f"group {name}",
                    fix=f"one true or false for each of {len(present)} rows",
                )
            chosen[name] = rows & present
        return chosen

    def block(self, complete: Complete) -> Block:
        """The columns and rows of one block."""
        parts = (self.signals[:, complete.signals], self.targets[:, complete.targets], self.controls)
        values = np.concatenate([part[complete.rows] for part in parts], axis=1)
        return Block(values, Shape(*(part.shape[1] for part in parts)), self.design.take(complete.rows))


def correlate(
    signals: ArrayLike,
    targets: ArrayLike,
    design: Design,
    *,
    statistic: str = "spearman",
    controls: ArrayLike | None = None,
    groups: Mapping[str, ArrayLike] | None = None,
    names: tuple[Sequence[str], Sequence[str]] | None = None,
    settings: ResamplingSettings | None = None,
    rng: np.random.Generator | int = 0,
) -> CorrelationGrid:
    """Correlate every signal with every target in every group of rows.

    Missing values (NaN) are left out pair by pair. A pair that cannot be correlated, or whose interval or p-value
    would not mean anything, gets none and a reason.

    Args:
        signals: shape (n, S).
        targets: shape (n, K).
        design: which run, step and cluster each row belongs to.
        statistic: `spearman` (all rows), `within` (ranks inside each run), `between` (run means),
            `step_partial` (ranks less the mean of their step) or `pearson`; see `STATISTICS`.
        controls: columns to hold fixed, shape (n, C): scores are regressed on theirs, so that `spearman` with
            controls is the partial Spearman correlation.
        groups: names and row masks; default: one group `all`.
        names: of signals and of targets; default: their positions.
        settings: draws, level, fewest runs.
        rng: a seed or a generator.

    Returns:
        Estimates, both intervals, both p-values, counts and reasons, shape (groups, S, K).

    Raises:
        SettingsError: shapes that do not fit, infinite values, an unknown statistic.

    Example:
        >>> design = Design.from_labels(["a"] * 3 + ["b"] * 3, steps=[1, 2, 3] * 2)
        >>> grid = correlate([1, 2, 3, 2, 3, 4], [1, 2, 4, 1, 3, 4], design)
        >>> round(float(grid.estimate[0, 0, 0]), 3)
        0.909
    """
    columns = Columns.of(signals, targets, controls, design)
    chosen, used = find_statistic(statistic), settings or ResamplingSettings()
    masks, draws = columns.groups(groups), Draws(rng)
    shape = (len(masks), columns.signals.shape[1], columns.targets.shape[1])
    arrays = empty_arrays(CorrelationGrid, shape)
    for q, rows in enumerate(masks.values()):
        for complete in complete_rows(columns.signals, columns.targets, among=rows):
            block = solve(columns.block(complete), chosen, settings=used, draws=draws)
            at = (q, complete.signals[:, None], complete.targets)
            for name, value in block.items():
                arrays[name][at] = value
    signal_names, target_names = names or (range(shape[1]), range(shape[2]))
    return CorrelationGrid(
        statistic=statistic,
        groups=tuple(masks),
        signals=as_names(signal_names, count=shape[1], where="signals"),
        targets=as_names(target_names, count=shape[2], where="targets"),
        **arrays,
    )


def as_names(names: Sequence[object], *, count: int, where: str) -> tuple[str, ...]:
    """Column names as text, one a column."""
    if len(names) != count:
        raise SettingsError(f"{len(names)} names for {count} columns", where=where, fix="one name a column")
    return tuple(str(name) for name in names)


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
