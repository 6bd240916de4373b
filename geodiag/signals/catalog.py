"""Lists of all signals, outcomes and checks, and the short lists that tables and figures show first.

Tables, figures, explanations and the report take their labels and caveats from these entries. Adding a signal is one
entry here and one measure in `geodiag.signals.levels`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from geodiag.signals import catalog_outcomes as outcomes
from geodiag.signals import catalog_signals as signals
from geodiag.signals.catalog_signals import Signal, SignalKind

__all__ = [
    "CORE_SIGNALS",
    "FAMILY_SIGNALS",
    "GAP_SIGNALS",
    "GRADIENT_SIGNALS",
    "HEADLINE_SIGNALS",
    "HEADLINE_TARGET",
    "HEALTH",
    "PAIR_SIGNALS",
    "PAIR_TARGETS",
    "RUN_TARGETS",
    "SIGNALS",
    "TARGETS",
    "Signal",
    "SignalKind",
]

SIGNALS: tuple[Signal, ...] = (
    signals.UPDATE_NORM,
    signals.UPDATE_NORM_SUM,
    signals.STATE_NORM,
    signals.STATE_NORM_SUM,
    signals.ACTIVE_SAR,
    signals.ACTIVE_CONFLICT,
    signals.STATE_SAR,
    signals.STATE_CONFLICT,
    signals.GLOBAL_ACTIVE_CONFLICT,
    signals.GLOBAL_STATE_CONFLICT,
    signals.STATE_GAP,
    signals.GLOBAL_GAP,
    signals.MEAN_GRAD_COS,
    signals.MIN_GRAD_COS,
    signals.NEG_GRAD_RATIO,
    signals.STEP_INDEX,
)
"""The signals of a step, in the order of tables and figures."""

FAMILY_SIGNALS: tuple[Signal, ...] = tuple(signal for signal in SIGNALS if signal.kind != "baseline")
"""The signals of one family's layers, or of one layer: every signal of a step but its index."""

TARGETS: tuple[Signal, ...] = (
    outcomes.FORGETTING,
    outcomes.RETENTION_LOSS,
    outcomes.WORST_DROP,
    outcomes.OLD_MEAN,
    outcomes.OLD_MIN,
    outcomes.CURRENT,
    outcomes.OVERALL_SCORE,
)
"""The outcomes of a step."""

PAIR_SIGNALS: tuple[Signal, ...] = (
    signals.MEAN_SAR,
    signals.MAX_SAR,
    signals.MEAN_CONFLICT,
    signals.MAX_CONFLICT,
    signals.PAIR_MEAN_GRAD_COS,
    signals.PAIR_MIN_GRAD_COS,
    signals.PAIR_NEG_GRAD_RATIO,
    signals.PAIR_AGE,
    signals.STEP_INDEX,
)
"""The signals of a new task and an old task at a step."""

PAIR_TARGETS: tuple[Signal, ...] = (outcomes.DROP, outcomes.PAIR_FORGETTING)
"""The outcomes of an old task at a step."""

RUN_TARGETS: tuple[Signal, ...] = (
    outcomes.FINAL_OVERALL,
    outcomes.OLD_MEAN,
    outcomes.FORGETTING,
    outcomes.RETENTION_LOSS,
    outcomes.CURRENT,
    outcomes.OP,
    outcomes.BWT,
    outcomes.FWT,
)
"""The outcomes of a whole run, at its last step."""

HEALTH: tuple[Signal, ...] = (
    Signal(
        "lambda_share_mean",
        "Lambda share (mean)",
        "health",
        0,
        1,
        "larger: the regulariser blurs the geometry more",
        "The share of the compared traces that lambda contributes, averaged over pairs and layers.",
        "Above 1 % the conflict of small updates is visibly pulled down; lower lambda then.",
    ),
    Signal(
        "lambda_share_max",
        "Lambda share (max)",
        "health",
        0,
        1,
        "larger: the regulariser blurs some layer's geometry more",
        "The largest share of a pair's traces that lambda contributes in any layer.",
        "One layer that hardly moved is enough to raise it.",
    ),
    Signal(
        "undefined_share",
        "Undefined pairs",
        "health",
        0,
        1,
        "larger: more comparisons had nothing to compare",
        "The share of pairs and layers without a conflict, because an update there is zero.",
        "Undefined pairs are left out of every mean.",
    ),
    Signal(
        "floor_share",
        "At rounding floor",
        "health",
        0,
        1,
        "larger: more of the updates may be rounding alone",
        "The share of this step's updates (state and new task, by layer) no larger than rounding would make.",
        "Geometry of such an update describes the number format, not the training.",
    ),
    Signal(
        "energy_kept",
        "Energy kept",
        "health",
        0,
        1,
        "larger: the kept directions describe the updates better",
        "The share of an update's squared norm in its kept directions, averaged over this step's updates.",
        "Where it is low the rank limit, not the data, shapes the geometry.",
    ),
    Signal(
        "grad_reliability",
        "Gradient reliability",
        "health",
        -1,
        1,
        "larger: probe gradients repeat better",
        "How far probe gradients repeat between halves of their examples, averaged over tasks and layers.",
        "Null where gradients were not measured, or from too few examples to halve.",
    ),
)
"""Checks of a step's measurements, not signals of forgetting."""

CORE_SIGNALS = ("update_norm", "active_conflict", "state_gap", "global_gap")
"""The signals of the paper's confidence tables."""
GAP_SIGNALS = CORE_SIGNALS[1:]
"""The geometry signals that the paper compares with gradients."""
GRADIENT_SIGNALS = ("neg_grad_ratio", "min_grad_cos")
"""The gradient signals that it compares them with."""
HEADLINE_SIGNALS = (*CORE_SIGNALS, *GRADIENT_SIGNALS, signals.STEP_INDEX.name)
"""The signals of the paper's tables of steps, and the step index, which every signal must beat."""
HEADLINE_TARGET = "forgetting"
"""The outcome that summaries, first panels and contrasts are about."""


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
