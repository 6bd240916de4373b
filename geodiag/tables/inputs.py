"""Signals of a store and their rows with cluster design, each computed once for all tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar, cast

import numpy as np
import polars as pl

from geodiag.errors import GeodiagError
from geodiag.signals import family_signals, layer_signals, pair_signals, run_outcomes, step_signals
from geodiag.signals.layer_ranking import rank_layers
from geodiag.stats import CorrelationGrid, Design, ResamplingSettings, correlate
from geodiag.stats.design import Bools, Floats
from geodiag.store import StoreReader
from geodiag.tables.options import ORDERS, Options

ALL = "all"
"""The name of the group of all rows."""
_LABELS = ("size", "method", "seed", "run")


@dataclass(frozen=True)
class SignalRows:
    """Rows of one kind: steps, or pairs of a step's new task and an old one."""

    frame: pl.DataFrame
    """One row each, with run, size, method, seed, step, signals and targets."""
    design: Design
    """The run, step and independent unit of each row."""
    seed: int
    """The seed of resamples and shuffles."""

    @classmethod
    def of(cls, frame: pl.DataFrame, options: Options, *, place: Sequence[str]) -> SignalRows:
        """Label the rows.

        Args:
            frame: the rows.
            options: the independent unit, and the seed.
            place: the columns that name a row within its run; rows at equal places are exchanged when runs
                exchange their signals.
        """
        within = [pl.col(name) for name in place]
        match = frame.select(pl.struct(_place_of_run(options.cluster), *within)).to_series()
        design = Design.from_labels(
            frame["run"].to_list(),
            steps=frame["step"].to_numpy(),
            clusters=None if options.cluster == "run" else _as_text(frame[options.cluster]),
            match=match.rank("dense").to_numpy() if frame.height else [],
        )
        return cls(frame, design, options.seed)

    def columns(self, names: Sequence[str]) -> Floats:
        """Columns as numbers, shape (n, len(names)), NaN where undefined."""
        values = self.frame.select(pl.col(name).cast(pl.Float64) for name in names)
        return np.asarray(values.fill_null(float("nan")).to_numpy(), dtype=np.float64).reshape(-1, len(names))

    def groups(self, by: str | None) -> dict[str, Bools]:
        """Row masks of each size or method in order, or one of all rows."""
        if by is None:
            return {ALL: np.ones(self.frame.height, dtype=np.bool_)}
        labels = self.frame[by].to_numpy()
        return {name: np.asarray(labels == name, dtype=np.bool_) for name in ORDERS[by](self.frame[by])}

    def correlate(
        self,
        signals: Sequence[str],
        targets: Sequence[str],
        *,
        settings: ResamplingSettings,
        statistic: str = "spearman",
        controls: Sequence[str] = (),
        groups: Mapping[str, Bools] | None = None,
    ) -> CorrelationGrid:
        """Correlate columns by name; see `geodiag.stats.correlate`."""
        return correlate(
            self.columns(signals),
            self.columns(targets),
            self.design,
            statistic=statistic,
            controls=self.columns(controls) if controls else None,
            groups=groups or self.groups(None),
            names=(signals, targets),
            settings=settings,
            rng=self.seed,
        )


def _place_of_run(cluster: str) -> pl.Expr:
    """The run of a row within its cluster, by its other labels, so that runs with equal labels are exchanged."""
    if cluster == "run":
        return pl.lit(0).alias("place")
    others = [name for name in _LABELS if name not in (cluster, "run")]
    twin = pl.col("run").rank("dense").over(cluster, *others)
    return pl.struct(*others, twin.alias("twin")).alias("place")


def _as_text(labels: pl.Series) -> list[str]:
    return labels.cast(pl.String).fill_null("none").to_list()


T = TypeVar("T")


class NotInStore(GeodiagError):
    """The store lacks rows that a table needs; the message names them and how to get them."""


class Inputs:
    """Frames and rows of a store, each computed when first asked for and then shared by tables and figures.

    Args:
        store: the store, or a view of some of its runs.
        options: draws, seed and the independent unit.
    """

    def __init__(self, store: StoreReader, options: Options) -> None:
        self.store, self.options = store.snapshot(), options
        self._shared: dict[str, object] = {}

    def once(self, name: str, make: Callable[[], T]) -> T:
        """A result that several tables share, computed when first asked for."""
        if name not in self._shared:
            self._shared[name] = make()
        return cast(T, self._shared[name])

    @cached_property
    def step_frame(self) -> pl.DataFrame:
        """Signals and outcomes, one row a step."""
        return step_signals(self.store)

    @cached_property
    def pair_frame(self) -> pl.DataFrame:
        """Signals and outcomes of the step's new task against each old one, with the step's norms."""
        norms = self.step_frame.select("run", "step", "update_norm", "state_norm")
        return pair_signals(self.store).join(norms, on=["run", "step"], how="left", maintain_order="left")

    @cached_property
    def steps(self) -> SignalRows:
        """The rows of `step_frame` with their design."""
        return SignalRows.of(self.step_frame, self.options, place=("step",))

    @cached_property
    def pairs(self) -> SignalRows:
        """The rows of `pair_frame` with their design.

        Runs that saw the tasks in different orders are matched by the old task's age.
        """
        return SignalRows.of(self.pair_frame, self.options, place=("step", "age"))

    @cached_property
    def families(self) -> pl.DataFrame:
        """Signals, one row a (run, step, family)."""
        return family_signals(self.store)

    @cached_property
    def layers(self) -> pl.DataFrame:
        """Signals, one row a (run, step, layer)."""
        return layer_signals(self.store)

    @cached_property
    def top(self) -> pl.DataFrame:
        """The layers ranked first at each step."""
        return rank_layers(self.layers, count=self.options.top_layers)

    @cached_property
    def outcomes(self) -> pl.DataFrame:
        """Final outcomes, one row a run."""
        return run_outcomes(self.store)
