"""Evidence shared by all explanations of one store, computed once: its frames, and correlations with the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from geodiag.explain.results import LossCorrelation
from geodiag.signals import PAIR_SIGNALS, SIGNALS
from geodiag.signals.catalog import in_text
from geodiag.signals.pairs import SimilarPairs
from geodiag.signals.shares import (
    ConflictRow,
    Part,
    ShareSeries,
    norm_shares,
    share_series,
    squared_norms,
    state_conflict_sums,
)
from geodiag.stats.placement import Reference
from geodiag.stats.score_noise import SampledScore
from geodiag.store import StoreReader
from geodiag.tables import Options
from geodiag.tables.inputs import Inputs, SignalRows

STEP_TARGET, PAIR_TARGET = "forgetting", "drop"
"""Outcomes that step evidence and pair evidence are correlated with."""
STEP_EVIDENCE = (*(signal.name for signal in SIGNALS if signal.kind != "baseline"), "current")
"""Columns of a step that are evidence."""
PAIR_EVIDENCE = tuple(signal.name for signal in PAIR_SIGNALS if signal.kind != "baseline")
"""Columns of a pair that are evidence."""

_NAMES = {**{name: in_text(name) for name in (*STEP_EVIDENCE, *PAIR_EVIDENCE)}, "current": "the own task's score"}


@dataclass(frozen=True)
class LossCorrelations:
    """Correlations of all kinds of evidence with the loss, by column."""

    steps: Mapping[str, LossCorrelation]
    """Of step signals, and of the score of the step's own task (`current`)."""
    families: Mapping[str, LossCorrelation]
    """Of a family's share of the step's squared update."""
    pairs: Mapping[str, LossCorrelation]
    """Of pair signals."""

    @classmethod
    def of(cls, inputs: Inputs, family_shares: pl.DataFrame) -> LossCorrelations:
        """Correlations over a store.

        Args:
            inputs: the store's frames.
            family_shares: (run, step, family, share).
        """
        return cls(
            _correlations(inputs.steps, STEP_EVIDENCE, STEP_TARGET, inputs.options),
            _family_correlations(inputs, family_shares),
            _correlations(inputs.pairs, PAIR_EVIDENCE, PAIR_TARGET, inputs.options),
        )


def _family_correlations(inputs: Inputs, shares: pl.DataFrame) -> dict[str, LossCorrelation]:
    families = shares["family"].unique().sort().to_list()
    if not families:
        return {}
    wide = shares.pivot("family", index=["run", "step"], values="share")
    frame = inputs.steps.frame.drop([name for name in families if name in inputs.steps.frame.columns])
    joined = frame.join(wide, on=["run", "step"], how="left").sort("run", "step")
    rows = SignalRows.of(joined, inputs.options, place=("step",))
    return _correlations(rows, families, STEP_TARGET, inputs.options)


def _correlations(rows: SignalRows, names: Sequence[str], target: str, options: Options) -> dict[str, LossCorrelation]:
    """The correlation of each column with the target; empty where there are no rows."""
    if not rows.frame.height:
        return {}
    settings = options.estimates
    fixed = rows.correlate(names, [target], settings=settings, statistic="step_partial")
    pooled = rows.correlate(names, [target], settings=settings)
    return {
        cell.signal: LossCorrelation(
            signal=_NAMES.get(cell.signal, f"the share of {cell.signal}"),
            target=target,
            rho=cell.estimate,
            low=cell.jackknife.low,
            high=cell.jackknife.high,
            pooled=pooled.cell(cell.signal, target).estimate,
            n=cell.rows,
            runs=cell.runs,
            least=options.least_runs,
        )
        for cell in fixed.cells()
    }


EvidenceRows = list[dict[str, Any]]
"""Rows of a frame as dictionaries."""


class StoreEvidence:
    """A store's signals, shares and scores, and the correlation of each kind of evidence with the loss.

    Everything is read or computed on first use and kept, so that explaining many steps from one `StoreEvidence`
    reads the store once.

    Args:
        store: the store, or a view of some of its runs.
        options: settings of intervals, and the runs they need.
    """

    def __init__(self, store: StoreReader, options: Options | None = None) -> None:
        self.store, self.options = store.snapshot(), options or Options()
        self._inputs = Inputs(self.store, self.options)

    @cached_property
    def runs(self) -> dict[str, dict[str, Any]]:
        """Labels of every run: size, method, seed, n_steps."""
        return {str(row["run"]): row for row in self.store.runs().drop("config").iter_rows(named=True)}

    @cached_property
    def configs(self) -> dict[str, dict[str, Any]]:
        """All settings of each run's extraction."""
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
        """Columns of `steps` by run."""
        parts = self.steps.partition_by("run", as_dict=True)
        return {str(run): part.to_dict(as_series=False) for (run,), part in parts.items()}

    @cached_property
    def pairs(self) -> pl.DataFrame:
        """Signals and outcomes of the new task and each old one, with the reliability of their gradients."""
        key = ["run", "step", "new_task", "old_task"]
        return self._inputs.pairs.frame.join(self._reliability(), on=key, how="left").sort("run", "step", "age")

    @cached_property
    def pairs_of(self) -> dict[str, EvidenceRows]:
        """Rows of `pairs` by run."""
        return _by_run(self.pairs)

    @cached_property
    def similar_pairs(self) -> SimilarPairs:
        """Lookup of pairs like a given one in other runs."""
        return SimilarPairs(self.pairs)

    @cached_property
    def state_conflicts_of(self) -> dict[str, list[ConflictRow]]:
        """Sums and counts of conflicts with the state, by run (`geodiag.signals.shares.state_conflict_sums`)."""
        return _by_run(state_conflict_sums(self.store))

    @cached_property
    def correlations(self) -> LossCorrelations:
        """Correlation of each kind of evidence with the loss in this store."""
        return LossCorrelations.of(self._inputs, norm_shares(self._norms, "family", "step"))

    @cached_property
    def scores(self) -> dict[str, dict[tuple[int, str], SampledScore]]:
        """Scores by run, then (step, task)."""
        scores: dict[str, dict[tuple[int, str], SampledScore]] = {run: {} for run in self.runs}
        columns = ("run", "step", "task", "score", "n", "stderr")
        for run, step, task, value, n, stderr in self.store.scan("scores").select(columns).collect().iter_rows():
            scores[run][step, task] = SampledScore(value, n, stderr)
        return scores

    @cached_property
    def own_scores(self) -> dict[tuple[str, str], list[tuple[str, float]]]:
        """(run, score) of every task right after the step that trained it, by size and task."""
        scores: dict[tuple[str, str], list[tuple[str, float]]] = {}
        rows = self.steps.select("size", "task", "run", "current").drop_nulls()
        for size, task, run, current in rows.iter_rows():
            scores.setdefault((size, task), []).append((run, current))
        return scores

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

    def shares_of(self, level: str, source: str) -> ShareSeries:
        """Shares of squared norms by run, then part, then step.

        Args:
            level: `family`, `block` or `layer`.
            source: `step` (the step's own change) or `task` (the new task's update).
        """
        return self._inputs.once(
            f"shares {level} {source}", lambda: share_series(norm_shares(self._norms, level, source), level)
        )

    def share_reference(self, level: str, source: str, size: str) -> Mapping[Part, Reference]:
        """All shares over the runs of one size, by family, block or layer."""
        return self._inputs.once(
            f"references {level} {source} {size}", lambda: self._share_references(level, source, size)
        )

    def labels(self, run: str) -> Mapping[str, str]:
        """Labels of the run's tasks in its manifest, by their names in the store."""
        labels = self.configs[run].get("labels")
        return labels if isinstance(labels, dict) else {}

    @cached_property
    def _norms(self) -> pl.DataFrame:
        return squared_norms(self.store)

    def _share_references(self, level: str, source: str, size: str) -> dict[Part, Reference]:
        rows: dict[Part, list[tuple[str, int, float]]] = {}
        for run, parts in self.shares_of(level, source).items():
            if self.runs[run]["size"] == size:
                for part, series in parts.items():
                    rows.setdefault(part, []).extend((run, step, share) for step, share in series.items())
        return {part: Reference(values) for part, values in rows.items()}

    def _reliability(self) -> pl.DataFrame:
        """Reliability of the gradients of each pair, averaged over the two tasks and over layers."""
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
