"""What tables are made from: a store's signals, each aggregated once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TypeVar, cast

import polars as pl

from geodiag.errors import GeodiagError
from geodiag.signals import family_signals, pair_signals, run_outcomes, step_signals, top_layers
from geodiag.store import StoreReader
from geodiag.tables.options import Options
from geodiag.tables.rows import Rows

T = TypeVar("T")


class NotInStore(GeodiagError):
    """A table needs what the store does not hold; the message says what, and how to get it."""


class Inputs:
    """A store's frames, made when first asked for and kept for the next table.

    Args:
        store: the store, or a view of some of its runs.
        options: draws, seed and the independent unit.
    """

    def __init__(self, store: StoreReader, options: Options) -> None:
        self.store, self.options = store, options
        self._known: dict[str, object] = {}

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What several tables share, made by the first that asks."""
        if name not in self._known:
            self._known[name] = make()
        return cast(T, self._known[name])

    @cached_property
    def steps(self) -> Rows:
        """Signals and outcomes, one row a step."""
        return Rows.of(step_signals(self.store), self.options, place=("step",))

    @cached_property
    def pairs(self) -> Rows:
        """Signals and outcomes of the step's new task against each old one, with the step's norms.

        Runs that saw the tasks in different orders stand opposite each other by the old task's age.
        """
        norms = self.steps.frame.select("run", "step", "update_norm", "state_norm")
        frame = pair_signals(self.store).join(norms, on=["run", "step"], how="left", maintain_order="left")
        return Rows.of(frame, self.options, place=("step", "age"))

    @cached_property
    def families(self) -> pl.DataFrame:
        """Signals, one row a (run, step, family)."""
        return family_signals(self.store)

    @cached_property
    def top(self) -> pl.DataFrame:
        """The layers that stand out at each step."""
        return top_layers(self.store, count=self.options.top_layers)

    @cached_property
    def outcomes(self) -> pl.DataFrame:
        """Final outcomes, one row a run."""
        return run_outcomes(self.store)
