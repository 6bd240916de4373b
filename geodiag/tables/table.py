"""A table of the analysis: its function, needs and text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import polars as pl

from geodiag.store import StoreReader
from geodiag.tables.inputs import Inputs, NotInStore
from geodiag.tables.options import BASELINE_METHOD, Options


@dataclass(frozen=True)
class Need:
    """Something that a store may or may not hold."""

    met: Callable[[Inputs], bool]
    """Whether it is there."""
    missing: str
    """What to say where it is not."""
    fix: str
    """How to get it."""


def _has_step(column: str) -> Callable[[Inputs], bool]:
    return lambda inputs: inputs.steps.frame[column].count() > 0


def _has_pair(column: str) -> Callable[[Inputs], bool]:
    return lambda inputs: inputs.pairs.frame[column].count() > 0


NEEDS: Mapping[str, Need] = MappingProxyType(
    {
        "forgetting": Need(
            _has_step("forgetting"),
            "no old task was scored at two steps",
            "name a scores file in run.yaml and extract again",
        ),
        "scores": Need(_has_step("overall"), "no run has scores", "name a scores file in run.yaml and extract again"),
        "conflict": Need(
            _has_step("active_conflict"),
            "no two updates were ever active together",
            "extract runs of two steps or more with another memory than 1",
        ),
        "correlations": Need(
            lambda inputs: _has_step("overall")(inputs) or _has_pair("mean_conflict")(inputs),
            "no run has scores, and no new task was compared with an old one",
            "name a scores file in run.yaml and extract again",
        ),
        "pairs": Need(
            _has_pair("mean_conflict"),
            "no new task was compared with an old one",
            "extract runs of two steps or more with memory: all, or 2 and more",
        ),
        "seq_sft": Need(
            lambda inputs: BASELINE_METHOD in inputs.steps.frame["method"],
            f"no run's method is {BASELINE_METHOD!r}",
            "name it so in run.yaml where a run was trained without protection",
        ),
        "gradients": Need(
            _has_step("mean_grad_cos"),
            "no run has probe gradients",
            "extract with --gradients and a probes file in run.yaml",
        ),
    }
)
"""What may be needed, by name."""


def check_needs(inputs: Inputs, needs: Iterable[str], *, table: str) -> None:
    """Raise for the first need that is not met.

    Raises:
        NotInStore: it says what is missing and how to get it.
    """
    for name in needs:
        need = NEEDS[name]
        if not need.met(inputs):
            raise NotInStore(need.missing, where=table, fix=need.fix)


TablePart = Literal["ours", "paper", "figure"]


@dataclass(frozen=True)
class TablePanel:
    """What stands on the page of a table."""

    caption: str
    """What it is; empty where the table's own heading says it."""
    frame: pl.DataFrame
    """Its rows."""
    legend: tuple[tuple[str, str], ...] = ()
    """Words in it and what they mean."""


@dataclass(frozen=True)
class AnalysisTable:
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
    """What the store must hold, names of `geodiag.tables.table.NEEDS`."""
    build: Callable[[Inputs], pl.DataFrame]
    """Its rows."""
    part: TablePart = "paper"
    """Whose statistics it has: ours, the paper's, or the paper's in the form of a figure's numbers."""
    key: tuple[str, ...] = ()
    """The columns that say which row of the published table a row is; none where it has no rows to match."""
    shows: Callable[[pl.DataFrame], str] | None = None
    """What its rows say, in words, where that can be told from them."""
    panels: Callable[[pl.DataFrame], Sequence[TablePanel]] | None = None
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
