"""Labels: the one name that people read for each column, and the names that the paper's tables use instead.

A column has one label and a label belongs to one column, in tables, figures, the report and explanations. Files in
the format of the paper's tables keep the paper's names; `PUBLISHED_COLUMNS` maps them to columns.
docs/glossary.md lists all labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from geodiag.signals.catalog import HEALTH, PAIR_SIGNALS, PAIR_TARGETS, RUN_TARGETS, SIGNALS, TARGETS, Signal

ENTRIES: Mapping[str, Signal] = MappingProxyType(
    {s.name: s for group in (PAIR_TARGETS, PAIR_SIGNALS, RUN_TARGETS, HEALTH, TARGETS, SIGNALS) for s in group}
)
"""Catalogue entries by column; of a name at several levels, the step's."""

PAIR_RELATIONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "sar_gc": ("mean_sar", "mean_conflict"),
        "sar_drop": ("mean_sar", "drop"),
        "gc_drop": ("mean_conflict", "drop"),
        "gc_forget": ("mean_conflict", "forgetting"),
    }
)
"""Columns of correlations of pairs: the two columns that each one correlates."""

PUBLISHED_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "old_task_mean": "old_mean",
        "old_task_change": "drop",
        "sar": "mean_sar",
        "geometry_conflict": "mean_conflict",
        "grad_cos": "mean_grad_cos",
        "sar_vs_conflict": "sar_gc",
        "conflict_vs_immediate_change": "gc_drop",
        "conflict_vs_forgetting_from_best": "gc_forget",
        # The released code adds up the layers' norms for what the paper calls merged norm.
        "Merged norm": "state_norm_sum",
        "Merged norm (Euclidean)": "state_norm",
    }
)
"""Names in the paper's tables that differ from ours, and the column that each of them is."""


def relation_label(signal: str, target: str) -> str:
    """The label of a correlation of pairs: "SAR vs old-task change"."""
    return f"{_SHORT.get(signal) or label(signal)} vs {in_text(target)}"


def label(name: str) -> str:
    """The label of a column, of the paper's name for one, or of a layer ranking; any other name is its own.

    Args:
        name: such as `global_gap`, "Global gap", or the paper's `old_task_mean`, "Old-task mean".
    """
    column = PUBLISHED_COLUMNS.get(name, name)
    if column in PAIR_RELATIONS:
        return relation_label(*PAIR_RELATIONS[column])
    return ENTRIES[column].label if column in ENTRIES else _OTHERS.get(column, column)


def in_text(name: str) -> str:
    """The label inside a sentence: "global gap", "GC vs forgetting"."""
    text = label(name)
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == "-" else text


_SHORT = {"mean_sar": "SAR"}
_OTHERS = {
    "median_sar": "Median SAR",
    "median_gc": "Median GC",
    "mean_gc": "Mean GC",
    "zero_updates": "Zero updates",
    "top_geometry_conflict": "Most geometry conflict",
    "top_negative_gradient": "Most negative gradient",
}
