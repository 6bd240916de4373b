"""Shares of a step by family, block and layer: of its squared norm, and of its change of the state conflict.

Symbols: p_k(t) the share of part k at step t, E_k(t) the squared norm of its layers, c_lj(t) the geometry conflict of
the state with object j in layer l, N(t) how many of them are defined.

    p_k(t) = E_k(t) / sum_k E_k(t)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, log
from statistics import median
from typing import Any

import polars as pl

from geodiag.store import StoreReader

Part = str | int
"""A family, a block or a layer."""
ShareSeries = dict[str, dict[Part, dict[int, float]]]
"""Shares by run, then part, then step."""
SMALLEST_SHARE = 1e-6
"""Shares are kept this far from 0 and 1, where log odds are infinite."""


def squared_norms(store: StoreReader) -> pl.DataFrame:
    """Squared norms of all updates.

    Returns:
        One row an update: run, step, source, layer, block, family, energy. The source is `step` for
        ||theta_t - theta_{t-1}||_F^2, and `task` for ||D||_F^2 of the new task's update.
    """
    place = ("run", "step", "layer", "block", "family")
    rows = store.scan("updates")
    state = pl.col("object") == "state"
    step = rows.filter(state).select(*place, source=pl.lit("step"), energy=pl.col("increment_norm") ** 2)
    task = rows.filter(~state).select(*place, source=pl.lit("task"), energy=pl.col("norm") ** 2)
    return pl.concat([step, task]).collect()


def norm_shares(norms: pl.DataFrame, level: str, source: str) -> pl.DataFrame:
    """Shares of each step's squared norm, p_k = E_k / sum_k E_k.

    Args:
        norms: `squared_norms` of a store.
        level: `family`, `block` or `layer`.
        source: `step` or `task`.

    Returns:
        (run, step, <level>, energy, share), sorted; the share is in 0..1. A step whose squared norm is 0, or not
        defined in every layer, has no rows.
    """
    key = ["run", "step"]
    rows = norms.filter(pl.col("source") == source)
    # Smallest first, so that the sum does not depend on the order of the rows in the store.
    energy = pl.col("energy").sort(nulls_last=False).sum()
    parts = rows.group_by(*key, level).agg(energy=energy, undefined=pl.col("energy").is_null().any())
    total = pl.col("energy").sum().over(key)
    complete = ~pl.col("undefined").any().over(key) & (total > 0)
    return parts.sort(*key, level).filter(complete).with_columns(share=pl.col("energy") / total).drop("undefined")


def share_series(shares: pl.DataFrame, level: str) -> ShareSeries:
    """The rows of `norm_shares` by run, then part, then step."""
    series: ShareSeries = {}
    for run, part, step, share in shares.select("run", level, "step", "share").iter_rows():
        series.setdefault(run, {}).setdefault(part, {})[step] = share
    return series


def log_odds(share: float) -> float:
    """log(p / (1 - p)) of a share clamped to `SMALLEST_SHARE` .. 1 - `SMALLEST_SHARE`."""
    p = min(max(share, SMALLEST_SHARE), 1 - SMALLEST_SHARE)
    return log(p / (1 - p))


@dataclass(frozen=True)
class StepShares:
    """Shares of one step's squared norm, against those of the run's other steps."""

    parts: Mapping[Part, Mapping[int, float]]
    """Shares of the run by part, then step."""
    step: int
    """The step."""
    least_others: int
    """Other steps that a usual share needs."""

    def share(self, part: Part) -> float | None:
        """The part's share at the step; None where it is not defined."""
        return self.parts[part].get(self.step)

    def series(self, part: Part, steps: Iterable[int]) -> tuple[float | None, ...]:
        """The part's share at each of these steps."""
        return tuple(self.parts[part].get(step) for step in steps)

    def log_odds(self, part: Part) -> dict[int, float]:
        """The part's log odds by step."""
        return {step: log_odds(share) for step, share in self.parts[part].items()}

    def usual(self, part: Part) -> float | None:
        """The median share at the run's other steps; None with fewer than `least_others`."""
        others = self._others(part)
        return median(others) if len(others) >= self.least_others else None

    def odds_ratio(self, part: Part) -> float | None:
        """Odds of the share over the median odds at the run's other steps; None where `usual` is None."""
        share, others = self.share(part), self._others(part)
        if share is None or len(others) < self.least_others:
            return None
        # exp(log_odds(p_k(t)) - median over s != t of log_odds(p_k(s)))
        return exp(log_odds(share) - median(log_odds(other) for other in others))

    def thirds(self) -> tuple[float, float, float]:
        """Sums of the shares of the first, middle and last third of the parts in order."""
        order = sorted(self.parts)
        sums = [0.0, 0.0, 0.0]
        for k, part in enumerate(order):
            sums[3 * k // len(order)] += self.share(part) or 0.0
        return sums[0], sums[1], sums[2]

    def _others(self, part: Part) -> list[float]:
        return [share for step, share in self.parts[part].items() if step != self.step]


ConflictRow = dict[str, Any]
"""Sum (`total`) and count (`n`) of the state's conflicts: step, layer, block, family, object_j, total, n."""


def state_conflict_sums(store: StoreReader) -> pl.DataFrame:
    """Sums and counts of the state's conflicts: run, step, layer, block, family, object_j, total, n; sorted."""
    rows = store.scan("pairs").filter(pl.col("kind") == "state")
    key = ("run", "step", "layer", "block", "family", "object_j")
    sums = rows.group_by(key).agg(total=pl.col("conflict").sum(), n=pl.col("conflict").count())
    return sums.sort(key).collect()


@dataclass(frozen=True)
class StateConflictChange:
    """Change of the state conflict from one step to the next, and its parts."""

    now: list[ConflictRow]
    """Rows of the step."""
    before: list[ConflictRow]
    """Rows of the previous step."""

    @classmethod
    def of(cls, rows: Sequence[ConflictRow], step: int) -> StateConflictChange | None:
        """The change at a step of a run; None where either step has no defined conflict.

        Args:
            rows: the run's rows of `state_conflict_sums`.
            step: the step.
        """
        now, before = ([row for row in rows if row["step"] == t] for t in (step, step - 1))
        return cls(now, before) if _count(now) and _count(before) else None

    @property
    def change(self) -> float:
        """State conflict at the step minus that at the previous one, in -1..1."""
        return _mean(self.now) - _mean(self.before)

    @cached_property
    def parts(self) -> dict[str, dict[Part, float]]:
        """Parts of the change by `family`, by `block` and by `layer`; those of one level add up to it."""
        levels: dict[str, dict[Part, float]] = {"family": {}, "block": {}, "layer": {}}
        # sum over l in k, j of c_lj(t) / N(t) - c_lj(t-1) / N(t-1)
        for rows, sign in ((self.now, 1), (self.before, -1)):
            total = _count(rows)
            for row in rows:
                for level, parts in levels.items():
                    parts[row[level]] = parts.get(row[level], 0.0) + sign * row["total"] / total
        return levels

    @property
    def at_same_tasks(self) -> float | None:
        """Change of the mean over tasks active at both steps, whose updates are the same: only the state moved.

        None where no task is active at both.
        """
        both = {row["object_j"] for row in self.now} & {row["object_j"] for row in self.before} - {"state"}
        now, before = ([row for row in rows if row["object_j"] in both] for rows in (self.now, self.before))
        return _mean(now) - _mean(before) if _count(now) and _count(before) else None


def _count(rows: Sequence[ConflictRow]) -> int:
    return sum(row["n"] for row in rows)


def _mean(rows: Sequence[ConflictRow]) -> float:
    return float(sum(row["total"] for row in rows) / _count(rows))
