"""Evidence shared by all explanations of one store, computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from geodiag.explain.results import Number
from geodiag.explain.track_record import Tracks
from geodiag.signals.splits import share_out, squared_norms
from geodiag.stats.placement import Reference
from geodiag.stats.score_noise import SampledScore
from geodiag.store import StoreReader
from geodiag.tables import Options
from geodiag.tables.inputs import Inputs

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


EvidenceRows = list[dict[str, Any]]
TimeSeries = dict[str, dict[str | int, dict[int, float]]]
"""Shares by run, then part (a family, block or layer), then step."""


class StoreEvidence:
    """A store's signals, where its updates went, its scores, and what each kind of evidence has been worth.

    Everything is read when first asked for and kept, so that explaining many steps from one `Evidence` reads the
    store once.

    Args:
        store: the store, or a view of some of its runs.
        options: how intervals are made and how many runs they need.
    """

    def __init__(self, store: StoreReader, options: Options | None = None) -> None:
        self.store, self.options = store, options or Options()
        self._inputs = Inputs(store, self.options)

    @cached_property
    def runs(self) -> dict[str, dict[str, Any]]:
        """Labels of every run: size, method, seed, n_steps."""
        return {str(row["run"]): row for row in self.store.runs().drop("config").iter_rows(named=True)}

    @cached_property
    def configs(self) -> dict[str, dict[str, Any]]:
        """Every setting that each run was extracted with."""
        return self.store.configs()

    @cached_property
    def steps(self) -> pl.DataFrame:
        """Signals, checks and outcomes, one row a (run, step), with mean_drop of the old tasks and zero_updates."""
        key = ["run", "step"]
        drops = self.pairs.group_by(key).agg(mean_drop=pl.col("drop").mean())
        zero = self.store.scan("updates").group_by(key).agg(zero_updates=(pl.col("norm") == 0).mean()).collect()
        frame = self._inputs.steps.frame.join(drops, on=key, how="left").join(zero, on=key, how="left")
        return frame.sort(key)

    @cached_property
    def steps_of(self) -> dict[str, dict[str, list[Any]]]:
        """The same as columns, by run."""
        parts = self.steps.partition_by("run", as_dict=True)
        return {str(run): part.to_dict(as_series=False) for (run,), part in parts.items()}

    @cached_property
    def pairs(self) -> pl.DataFrame:
        """Signals and outcomes of the new task and each old one, with the reliability of their gradients."""
        key = ["run", "step", "new_task", "old_task"]
        return self._inputs.pairs.frame.join(self._reliability(), on=key, how="left").sort("run", "step", "age")

    @cached_property
    def pairs_of(self) -> dict[str, EvidenceRows]:
        """The same as rows, by run."""
        return _by_run(self.pairs)

    @cached_property
    def elsewhere(self) -> Elsewhere:
        """What became of pairs, for looking up those of other runs."""
        return Elsewhere(self.pairs)

    @cached_property
    def state_conflicts_of(self) -> dict[str, EvidenceRows]:
        """Sums and counts of conflicts with the state: step, layer, block, family, object_j, total, n; by run."""
        rows = self.store.scan("pairs").filter(pl.col("kind") == "state")
        key = ("run", "step", "layer", "block", "family", "object_j")
        sums = rows.group_by(key).agg(total=pl.col("conflict").sum(), n=pl.col("conflict").count())
        return _by_run(sums.sort(key).collect())

    @cached_property
    def tracks(self) -> Tracks:
        """What each kind of evidence has been worth in this store."""
        return Tracks.of(self._inputs, share_out(self._norms, "family", "step"))

    @cached_property
    def scores(self) -> dict[str, dict[tuple[int, str], SampledScore]]:
        """Scores by run, then (step, task)."""
        found: dict[str, dict[tuple[int, str], SampledScore]] = {run: {} for run in self.runs}
        columns = ("run", "step", "task", "score", "n", "stderr")
        for run, step, task, value, n, stderr in self.store.scan("scores").select(columns).collect().iter_rows():
            found[run][step, task] = SampledScore(value, n, stderr)
        return found

    @cached_property
    def own_scores(self) -> dict[tuple[str, str], list[tuple[str, float]]]:
        """(run, score) of every task right after the step that trained it, by size and task."""
        found: dict[tuple[str, str], list[tuple[str, float]]] = {}
        rows = self.steps.select("size", "task", "run", "current").drop_nulls()
        for size, task, run, current in rows.iter_rows():
            found.setdefault((size, task), []).append((run, current))
        return found

    def reference(self, name: str, *, size: str | None = None) -> Reference:
        """All values of a step signal.

        Args:
            name: the signal.
            size: only runs of this model size.
        """
        return self._inputs.once(f"step {name} {size}", lambda: _reference(_of_size(self.steps, size), name))

    def pair_reference(self, name: str) -> Reference:
        """All values of a pair signal, or of the old task's drop."""
        return self._inputs.once(f"pair {name}", lambda: _reference(self.pairs, name))

    def shares_of(self, level: str, source: str) -> TimeSeries:
        """Shares of squared norms.

        Args:
            level: `family`, `block` or `layer`.
            source: `step` (the step's own change) or `task` (the new task's update).
        """
        return self._inputs.once(
            f"shares {level} {source}", lambda: _courses(share_out(self._norms, level, source), level)
        )

    def share_reference(self, level: str, source: str, size: str) -> Mapping[str | int, Reference]:
        """All shares over the runs of one size, by family, block or layer."""
        return self._inputs.once(f"references {level} {source} {size}", lambda: self._shares(level, source, size))

    def labels(self, run: str) -> Mapping[str, str]:
        """Tasks as they were written, by the name the store knows them under."""
        found = self.configs[run].get("labels")
        return found if isinstance(found, dict) else {}

    @cached_property
    def _norms(self) -> pl.DataFrame:
        return squared_norms(self.store)

    def _shares(self, level: str, source: str, size: str) -> dict[str | int, Reference]:
        rows: dict[str | int, list[tuple[str, int, float]]] = {}
        for run, parts in self.shares_of(level, source).items():
            if self.runs[run]["size"] == size:
                for part, course in parts.items():
                    rows.setdefault(part, []).extend((run, step, share) for step, share in course.items())
        return {part: Reference(found) for part, found in rows.items()}

    def _reliability(self) -> pl.DataFrame:
        """How well the gradients of a pair repeat, averaged over layers."""
        new = self._inputs.steps.frame.lazy().select("run", "step", new_task="task")
        rows = self.store.scan("gradients").join(new, on=["run", "step"])
        is_i, is_j = pl.col("task_i") == pl.col("new_task"), pl.col("task_j") == pl.col("new_task")
        rows = rows.filter(is_i ^ is_j).with_columns(old_task=pl.when(is_i).then("task_j").otherwise("task_i"))
        means = rows.group_by("run", "step", "new_task", "old_task").agg(
            grad_reliability=pl.mean_horizontal("reliability_i", "reliability_j").mean()
        )
        return means.collect()


def _by_run(frame: pl.DataFrame) -> dict[str, EvidenceRows]:
    return {str(run): part.rows(named=True) for (run,), part in frame.partition_by("run", as_dict=True).items()}


def _of_size(frame: pl.DataFrame, size: str | None) -> pl.DataFrame:
    return frame if size is None else frame.filter(pl.col("size") == size)


def _reference(frame: pl.DataFrame, name: str) -> Reference:
    return Reference(frame.select("run", "step", pl.col(name).cast(pl.Float64)).drop_nulls().iter_rows())


def _courses(shares: pl.DataFrame, level: str) -> TimeSeries:
    found: TimeSeries = {}
    for run, part, step, share in shares.select("run", level, "step", "share").iter_rows():
        found.setdefault(run, {}).setdefault(part, {})[step] = share
    return found
