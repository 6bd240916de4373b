"""Rows of a store, ready to be correlated: columns by name, and who is independent of whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from geodiag.stats import CorrelationGrid, Design, Settings, correlate
from geodiag.stats.arrays import Bools, Floats
from geodiag.tables.options import Options
from geodiag.tables.orders import ORDERS

ALL = "all"
"""The name of the group of all rows."""
_LABELS = ("size", "method", "seed", "run")


@dataclass(frozen=True)
class Rows:
    """Rows of one kind: steps, or pairs of a step's new task and an old one."""

    frame: pl.DataFrame
    """One row each, with run, size, method, seed, step, signals and targets."""
    design: Design
    """The run, step and independent unit of each row."""
    seed: int
    """Of everything drawn."""

    @classmethod
    def of(cls, frame: pl.DataFrame, options: Options, *, place: Sequence[str]) -> Rows:
        """Label the rows.

        Args:
            frame: the rows.
            options: what is called independent, and the seed.
            place: the columns that name a row within its run; rows at one place stand opposite each other when
                runs exchange their signals.
        """
        own = [pl.col(name) for name in place]
        match = frame.select(pl.struct(_place_of_run(options.cluster), *own)).to_series()
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
        settings: Settings,
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
    """Which run of its cluster a row belongs to: its other labels, so that like stands opposite like."""
    if cluster == "run":
        return pl.lit(0).alias("place")
    others = [name for name in _LABELS if name not in (cluster, "run")]
    twin = pl.col("run").rank("dense").over(cluster, *others)
    return pl.struct(*others, twin.alias("twin")).alias("place")


def _as_text(labels: pl.Series) -> list[str]:
    return labels.cast(pl.String).fill_null("none").to_list()
