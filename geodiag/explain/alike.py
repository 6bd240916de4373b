"""What became of pairs elsewhere in the store that are like a pair of this step."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from geodiag.explain.results import Number

NEAREST = 20
"""Pairs that count as alike."""
_COLUMNS = ("run", "step", "new_task", "old_task", "mean_conflict", "mean_sar", "drop")


@dataclass(frozen=True)
class Alike:
    """Drops of old tasks in pairs of other runs."""

    n: int = 0
    """How many."""
    median: float | None = None
    """The median drop."""
    low: float | None = None
    """The largest loss."""
    high: float | None = None
    """The smallest loss, or largest gain."""
    lost: float | None = None
    """The share that fell."""
    all_median: float | None = None
    """The median drop over all pairs of other runs."""

    @classmethod
    def of(cls, drops: list[float], every: float) -> Alike:
        """Sum up drops; `every` is the median of all."""
        if not drops:
            return cls()
        lost = sum(drop < 0 for drop in drops) / len(drops)
        return cls(len(drops), median(drops), min(drops), max(drops), lost, every)

    def numbers(self) -> dict[str, Number]:
        """All by name."""
        return dict(vars(self))


class Elsewhere:
    """Pairs of a new and an old task whose GC, SAR and drop are known.

    Args:
        pairs: signals and outcomes of pairs.
    """

    def __init__(self, pairs: pl.DataFrame) -> None:
        frame = pairs.select(_COLUMNS).drop_nulls()
        self._ranks = frame.select(pl.col("mean_conflict", "mean_sar").rank("average")).to_numpy()
        self._drops, self._runs = frame["drop"].to_numpy(), frame["run"].to_numpy()
        keys = frame.select("run", "step", "old_task").iter_rows()
        self._at = {key: at for at, key in enumerate(keys)}
        self._tasks: dict[frozenset[str], list[int]] = {}
        for at, tasks in enumerate(frame.select("new_task", "old_task").iter_rows()):
            self._tasks.setdefault(frozenset(tasks), []).append(at)
        self._medians: dict[str, float] = {}

    def same(self, pair: dict[str, Any]) -> Alike:
        """The same two tasks in other runs, whichever was trained first."""
        tasks = frozenset((pair["new_task"], pair["old_task"]))
        at = [k for k in self._tasks.get(tasks, []) if self._runs[k] != pair["run"]]
        return self._sum_up(at, pair["run"])

    def near(self, pair: dict[str, Any]) -> Alike:
        """The pairs of other runs that stand closest in GC and SAR, by their ranks among all pairs.

        The distance of two pairs is the larger of their two differences in rank. Where other runs have fewer than
        twice `NEAREST` pairs there are no nearest ones worth naming.
        """
        here = self._at.get((pair["run"], pair["step"], pair["old_task"]))
        others = np.flatnonzero(self._runs != pair["run"])
        if here is None or len(others) < 2 * NEAREST:
            return Alike()
        distance = np.abs(self._ranks[others] - self._ranks[here]).max(axis=1)
        nearest = np.argsort(distance, kind="stable")[:NEAREST]
        return self._sum_up(others[nearest].tolist(), pair["run"])

    def _sum_up(self, at: list[int], run: str) -> Alike:
        if run not in self._medians:
            others = self._drops[self._runs != run]
            self._medians[run] = float(np.median(others)) if len(others) else 0.0
        return Alike.of([float(self._drops[k]) for k in at], self._medians[run])
