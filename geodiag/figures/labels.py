"""What figures call things, and the order they put them in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import polars as pl

from geodiag.common.families import FAMILIES
from geodiag.signals import HEALTH, PAIR_SIGNALS, PAIR_TARGETS, RUN_TARGETS, SIGNALS, TARGETS, Signal

RHO = "Spearman ρ"
STRENGTH = "|Spearman ρ|"

# Names that stand at a level of their own come last, so that the step's name wins where two share one.
_CATALOG: Mapping[str, Signal] = MappingProxyType(
    {s.name: s for group in (PAIR_TARGETS, PAIR_SIGNALS, RUN_TARGETS, HEALTH, TARGETS, SIGNALS) for s in group}
)

_TABLE_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "old_task_mean": "Old-task mean",
        "old_task_change": "Old-task change",
        "sar_vs_conflict": "SAR vs GC",
        "conflict_vs_immediate_change": "GC vs old-task change",
        "conflict_vs_forgetting_from_best": "GC vs forgetting",
        "sar_gc": "SAR vs GC",
        "sar_drop": "SAR vs old-task change",
        "gc_drop": "GC vs old-task change",
        "gc_forget": "GC vs forgetting",
        "median_sar": "Median SAR",
        "median_gc": "Median GC",
        "mean_gc": "Mean GC",
        "geometry_conflict": "GC",
        "sar": "SAR",
        "grad_cos": "Grad cos",
        "top_geometry_conflict": "Most geometry conflict",
        "top_negative_gradient": "Most negative gradient",
    }
)

_UNITS: Mapping[str, str] = MappingProxyType(
    {
        "norm": "Frobenius norm",
        "outcome": "score, fraction",
        "baseline": "steps",
    }
)


def label(name: str) -> str:
    """What a column is called in figures: `global_gap` is "Global gap"."""
    if name in _CATALOG:
        return _CATALOG[name].label
    return _TABLE_NAMES.get(name, name.replace("_", " "))


def unit(name: str) -> str:
    """The unit or range of a column, for an axis label; empty where it is not known."""
    signal = _CATALOG.get(name)
    if signal is None:
        return ""
    return _UNITS.get(signal.kind, f"{signal.low:g} to {signal.high:g}".replace("-", "−"))


def axis_label(name: str) -> str:
    """Name and unit: "Retention loss (score, fraction)"."""
    return f"{label(name)} ({unit(name)})" if unit(name) else label(name)


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
    found = pl.concat([new, old], how="vertical_relaxed").group_by("task").agg(pl.col("trained").mean())
    return found.sort("trained", "task")["task"].to_list()
