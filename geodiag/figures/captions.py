"""Labels and captions of figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from weakref import WeakKeyDictionary

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from geodiag.common.schema import FAMILIES
from geodiag.common.text import counted
from geodiag.signals.catalog import ENTRIES, label

RHO = "Spearman ρ"
STRENGTH = "|Spearman ρ|"

_UNITS: Mapping[str, str] = MappingProxyType(
    {
        "norm": "Frobenius norm",
        "outcome": "score, fraction",
        "baseline": "steps",
    }
)


def unit(name: str) -> str:
    """The unit or range of a column, for an axis label; empty for a column that is not in the catalogue."""
    signal = ENTRIES.get(name)
    if signal is None:
        return ""
    return _UNITS.get(signal.kind, f"{signal.low:g} to {signal.high:g}".replace("-", "−"))


def axis_label(name: str) -> str:
    """Label and unit: "Retention loss (score, fraction)"; of a column that has none, its name with spaces."""
    return f"{label(name)} ({unit(name)})" if unit(name) else label(name).replace("_", " ")


def task_title(task: str) -> str:
    """A folded task name with spaces: `computer_science` is "computer science"."""
    return task.replace("_", " ")


def family_label(family: str) -> str:
    """A family without its suffix: `q_proj` is "q"."""
    return family.removesuffix("_proj")


def axis_number(value: float | None, digits: int = 2) -> str:
    """A number with a real minus sign; empty for none, and no sign on a zero."""
    if value is None or value != value:
        return ""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def order_families(families: Iterable[str]) -> list[str]:
    """Families in the order of a block, others after them by name."""
    present = set(families)
    return sorted(present.intersection(FAMILIES), key=FAMILIES.index) + sorted(present.difference(FAMILIES))


def order_tasks(pairs: pl.DataFrame) -> list[str]:
    """Tasks of pair rows by the step that trained them, averaged over runs that differ, then by name."""
    new = pairs.select(task="new_task", trained="step")
    old = pairs.select(task="old_task", trained=pl.col("step") - pl.col("age"))
    tasks = pl.concat([new, old], how="vertical_relaxed").group_by("task").agg(pl.col("trained").mean())
    return tasks.sort("trained", "task")["task"].to_list()


GAP_NOTE = (
    "As λ → 0 the global gap is 2/(t + 1) times the state gap when all t tasks are active, "
    "so it carries the step index t."
)
"""Stands in the caption of every figure that shows the global gap."""
BASELINE_NOTE = "The step index stands beside it, as the baseline it must beat."
"""Follows where the step index is shown too."""


@dataclass(frozen=True)
class Caption:
    """The caption of one panel."""

    text: str
    """What is drawn, and what colours and symbols mean."""
    notes: tuple[str, ...]
    """Caveats of the signals drawn."""
    table: str
    """The table it is drawn from."""
    rows: int
    """Rows of the table that are drawn."""
    n: str
    """Observations behind the numbers: "250", or "240 to 250" where they differ; empty where not known."""
    runs: int | None
    """Runs behind the numbers, where that is known."""

    @property
    def counts(self) -> str:
        """Observations and runs: "n = 250, 20 runs."; empty where neither is known."""
        runs = "" if self.runs is None else counted(self.runs, "run")
        return _sentence(", ".join(part for part in (f"n = {self.n}" if self.n else "", runs) if part))

    def __str__(self) -> str:
        return " ".join(part for part in (self.text, self.counts, *self.notes) if part)


@dataclass(frozen=True)
class Missing:
    """A panel that a figure leaves out."""

    panel: str
    """Its title."""
    reason: str
    """What the data lacks for it."""


_CAPTIONS: WeakKeyDictionary[Axes, Caption] = WeakKeyDictionary()
_DRAWN: WeakKeyDictionary[Axes, pl.DataFrame] = WeakKeyDictionary()
_MISSING: WeakKeyDictionary[FigureBase, tuple[Missing, ...]] = WeakKeyDictionary()


def describe(
    ax: Axes,
    text: str,
    *,
    table: str,
    frame: pl.DataFrame,
    drawn: pl.DataFrame | None = None,
    n: str = "",
    runs: int | None = None,
    shows: Iterable[str] = (),
) -> None:
    """Attaches a caption to axes.

    Args:
        ax: the axes.
        text: what is drawn, in sentences.
        table: the table's name.
        frame: the table's rows that are drawn; their runs are counted where it names them.
        drawn: the numbers as drawn, where they are not those rows but made from them.
        n: observations behind the numbers; the rows themselves where `frame` names runs.
        runs: runs behind the numbers; counted where `frame` names them.
        shows: the signals drawn; their caveats join the caption.
    """
    if "run" in frame.columns:
        n, runs = n or str(frame.height), frame["run"].n_unique()
    notes = _gap_notes(set(shows))
    _DRAWN[ax] = frame if drawn is None else drawn
    _CAPTIONS[ax] = Caption(_sentence(text), notes, table, frame.height, n, runs)


def caption(ax: Axes) -> Caption:
    """The caption of axes that a figure of this package was drawn into.

    Raises:
        KeyError: nothing of this package was drawn there.
    """
    return _CAPTIONS[ax]


def drawn_rows(ax: Axes) -> pl.DataFrame:
    """The numbers drawn in axes, one row a point, cell, bar or estimate.

    Raises:
        KeyError: nothing of this package was drawn there.
    """
    return _DRAWN[ax]


def describe_missing(ax: Axes, missing: Iterable[Missing]) -> None:
    """Notes the panels that the figure of these axes leaves out."""
    _MISSING[ax.figure] = tuple(missing)


def missing_panels(ax: Axes) -> tuple[Missing, ...]:
    """The panels that the figure of these axes leaves out, and why."""
    return _MISSING.get(ax.figure, ())


def join(captions: Sequence[Caption]) -> str:
    """One text of several panels' captions; caveats stand at the end, each once."""
    if len(captions) == 1:
        return str(captions[0])
    parts = list(dict.fromkeys(" ".join(part for part in (c.text, c.counts) if part) for c in captions))
    return " ".join([*parts, *dict.fromkeys(note for c in captions for note in c.notes)])


def _gap_notes(shows: set[str]) -> tuple[str, ...]:
    if "global_gap" not in shows:
        return ()
    return (GAP_NOTE, BASELINE_NOTE) if "step" in shows else (GAP_NOTE,)


def _sentence(text: str) -> str:
    return text if not text or text.endswith(".") else f"{text}."
