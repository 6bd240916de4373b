"""What a table is: its numbers, and what to say of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from geodiag.store import StoreReader
from geodiag.tables.inputs import Inputs
from geodiag.tables.needs import check_needs
from geodiag.tables.options import Options

Part = Literal["ours", "paper", "figure"]


@dataclass(frozen=True)
class Panel:
    """What stands on the page of a table."""

    caption: str
    """What it is; empty where the table's own heading says it."""
    frame: pl.DataFrame
    """Its rows."""
    legend: tuple[tuple[str, str], ...] = ()
    """Words in it and what they mean."""


@dataclass(frozen=True)
class Table:
    """One table of the analysis."""

    name: str
    """The stem of its CSV."""
    title: str
    """Its heading."""
    question: str
    """What it asks, in one sentence."""
    distrust: str
    """What to distrust in it."""
    needs: tuple[str, ...]
    """What the store must hold, names of `geodiag.tables.needs.NEEDS`."""
    build: Callable[[Inputs], pl.DataFrame]
    """Its rows."""
    part: Part = "paper"
    """Whose statistics it has: ours, the paper's, or the paper's in the form of a figure's numbers."""
    key: tuple[str, ...] = ()
    """The columns that say which row of the published table a row is; none where it has no rows to match."""
    shows: Callable[[pl.DataFrame], str] | None = None
    """What its rows say, in words, where that can be told from them."""
    panels: Callable[[pl.DataFrame], Sequence[Panel]] | None = None
    """How it stands on the page, where that is not as it is."""

    def function(self, store: StoreReader, options: Options | None = None) -> pl.DataFrame:
        """The table of a store.

        Args:
            store: the store, or a view of some of its runs.
            options: draws, seed and the independent unit.

        Returns:
            Its rows, undefined numbers null.

        Raises:
            NotInStore: the store lacks what the table needs.
        """
        return self.compute(Inputs(store, options or Options()))

    def compute(self, inputs: Inputs) -> pl.DataFrame:
        """The table of inputs that are shared with other tables.

        Raises:
            NotInStore: the store lacks what the table needs.
        """
        check_needs(inputs, self.needs, table=self.name)
        return self.build(inputs)
