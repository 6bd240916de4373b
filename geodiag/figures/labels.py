"""Axis labels with units, numbers on axes, and the order of families and tasks in figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import polars as pl

from geodiag.common.schema import FAMILIES
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
    return sorted(set(families), key=lambda f: (FAMILIES.index(f) if f in FAMILIES else len(FAMILIES), f))


def order_tasks(pairs: pl.DataFrame) -> list[str]:
    """Tasks of pair rows by the step that trained them, averaged over runs that differ, then by name."""
    new = pairs.select(task="new_task", trained="step")
    old = pairs.select(task="old_task", trained=pl.col("step") - pl.col("age"))
    tasks = pl.concat([new, old], how="vertical_relaxed").group_by("task").agg(pl.col("trained").mean())
    return tasks.sort("trained", "task")["task"].to_list()
