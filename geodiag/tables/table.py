"""A table of the analysis: its function, its conditions on the store, and its text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import polars as pl

from geodiag.signals.catalog import label
from geodiag.store import StoreReader
from geodiag.tables.inputs import Inputs, NotInStore
from geodiag.tables.options import BASELINE_METHOD, Options


@dataclass(frozen=True)
class Need:
    """A condition on a store."""

    met: Callable[[Inputs], bool]
    """Whether the store meets it."""
    missing: str
    """What is missing where it does not."""
    fix: str
    """How to get it."""


def _has_step(column: str) -> Callable[[Inputs], bool]:
    return lambda inputs: inputs.step_frame[column].count() > 0


def _has_pair(column: str) -> Callable[[Inputs], bool]:
    return lambda inputs: inputs.pair_frame[column].count() > 0


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
            lambda inputs: BASELINE_METHOD in inputs.step_frame["method"],
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
"""Conditions by name."""


def check_needs(inputs: Inputs, needs: Iterable[str], *, table: str) -> None:
    """Raise for the first need that the store does not meet.

    Raises:
        NotInStore: a condition is not met.
    """
    for name in needs:
        need = NEEDS[name]
        if not need.met(inputs):
            raise NotInStore(need.missing, where=table, fix=need.fix)


TablePart = Literal["ours", "paper", "figure"]


@dataclass(frozen=True)
class TablePanel:
    """Rows of a table as the page shows them."""

    caption: str
    """Its caption; empty where the table's heading is enough."""
    frame: pl.DataFrame
    """Its rows."""
    legend: tuple[tuple[str, str], ...] = ()
    """Terms in it, each with its meaning."""


@dataclass(frozen=True)
class AnalysisTable:
    """One table of the analysis."""

    name: str
    """The stem of its CSV."""
    title: str
    """Its heading."""
    question: str
    """Its question, in one sentence."""
    distrust: str
    """Reasons to doubt it."""
    needs: tuple[str, ...]
    """Conditions on the store, names of `NEEDS`."""
    build: Callable[[Inputs], pl.DataFrame]
    """The function of its rows."""
    part: TablePart = "paper"
    """Whose statistics it has: ours, the paper's, or the paper's in the form of a figure's numbers."""
    key: tuple[str, ...] = ()
    """The columns that say which row of the published table a row is; none where it has no rows to match."""
    shows: Callable[[pl.DataFrame], str] | None = None
    """A sentence on its rows, empty where they say nothing; None for no sentence."""
    panels: Callable[[pl.DataFrame], Sequence[TablePanel]] | None = None
    """Its panels on the page; None shows its rows as they are."""

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


def pivoted(on: str, *, values: str) -> Callable[[pl.DataFrame], list[TablePanel]]:
    """Panels of a table with one column for each entry of a column.

    Args:
        on: the column whose entries become columns.
        values: the column of the cells.
    """

    def panels(frame: pl.DataFrame) -> list[TablePanel]:
        index = [name for name in frame.columns if name not in (on, values)]
        wide = frame.pivot(on, index=index, values=values, maintain_order=True)
        return [TablePanel("", wide.rename({name: label(name) for name in wide.columns if name not in index}))]

    return panels
