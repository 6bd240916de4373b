"""Names of signals and outcomes in tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import polars as pl

from geodiag.signals import PAIR_SIGNALS, PAIR_TARGETS, RUN_TARGETS, SIGNALS, TARGETS


@dataclass(frozen=True)
class Predictor:
    """One line of a ranking."""

    label: str
    """What the ranking calls it."""
    column: str
    """The column it is."""
    clipped: bool = False
    """Whether values are clipped to 0..1 first."""

    @property
    def values(self) -> pl.Expr:
        """The column, under the ranking's name."""
        value = pl.col(self.column)
        return (value.clip(0, 1) if self.clipped else value).alias(self.label)


CORE = ("update_norm", "active_conflict", "state_gap", "global_gap")
"""The signals of the paper's confidence tables."""
GAP_SIGNALS = ("active_conflict", "state_gap", "global_gap")
"""The geometry signals that the paper holds against gradients."""
GRADIENT_SIGNALS = ("neg_grad_ratio", "min_grad_cos")
"""The gradient signals it holds them against."""
PAPER_TARGETS: Mapping[str, str] = MappingProxyType(
    {
        "forgetting": "forgetting",
        "old_task_mean": "old_mean",
        "overall": "overall",
        "worst_drop": "worst_drop",
        "old_task_change": "drop",
    }
)
"""The paper's names of outcomes, and ours."""

# The released code adds up the layers' norms for what the paper calls merged norm.
STEP_PREDICTORS: tuple[Predictor, ...] = (
    Predictor("Merged norm", "state_norm_sum"),
    Predictor("Merged norm (Euclidean)", "state_norm"),
    Predictor("Update norm", "update_norm"),
    Predictor("Update norm (sum)", "update_norm_sum"),
    Predictor("Step index", "step"),
    Predictor("State gap", "state_gap"),
    Predictor("Global gap", "global_gap"),
    Predictor("Active GC", "active_conflict"),
    Predictor("State GC", "state_conflict"),
    Predictor("Global active GC", "global_active_conflict"),
    Predictor("Global state GC", "global_state_conflict"),
    Predictor("Active SAR", "active_sar"),
    Predictor("Active SAR (clip)", "active_sar", clipped=True),
    Predictor("State SAR", "state_sar"),
    Predictor("Mean grad cos", "mean_grad_cos"),
    Predictor("Min grad cos", "min_grad_cos"),
    Predictor("Neg-grad ratio", "neg_grad_ratio"),
)
"""The lines of the ranking of step predictors, norms and the bare step index among them."""

PAIR_PREDICTORS: tuple[Predictor, ...] = (
    Predictor("GC", "mean_conflict"),
    Predictor("Max GC", "max_conflict"),
    Predictor("Mean SAR", "mean_sar"),
    Predictor("Mean SAR (clip)", "mean_sar", clipped=True),
    Predictor("Max SAR", "max_sar"),
    Predictor("Mean grad cos", "mean_grad_cos"),
    Predictor("Min grad cos", "min_grad_cos"),
    Predictor("Neg-grad ratio", "neg_grad_ratio"),
    Predictor("Steps since", "age"),
    Predictor("Step index", "step"),
    Predictor("Update norm", "update_norm"),
    Predictor("Merged norm (Euclidean)", "state_norm"),
)
"""The lines of the ranking of pair predictors, with the old task's age, the step index and the step's norms."""

_LABELS: Mapping[str, str] = MappingProxyType(
    {s.name: s.label for group in (PAIR_TARGETS, PAIR_SIGNALS, RUN_TARGETS, TARGETS, SIGNALS) for s in group}
)


_TABLE_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "old_task_mean": "Old-task mean",
        "old_task_change": "Old-task change",
        "sar_vs_conflict": "SAR against conflict",
        "conflict_vs_immediate_change": "Conflict against immediate change",
        "conflict_vs_forgetting_from_best": "Conflict against forgetting from best",
        "top_geometry_conflict": "Most geometry conflict",
        "top_negative_gradient": "Most opposed gradients",
    }
)


def table_label(name: str) -> str:
    """What a column or an entry of a table is called where people read: `global_gap` is "Global gap"."""
    return _LABELS.get(name) or _TABLE_NAMES.get(name, name)


def in_text(name: str) -> str:
    """The same in the middle of a sentence: "global gap", "SAR against conflict"."""
    text = table_label(name)
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == "-" else text


def task_label(task: str) -> str:
    """A folded task name as a heading: `computer_science` is "Computer Science"."""
    return task.replace("_", " ").title()


def select(predictors: Iterable[Predictor]) -> list[pl.Expr]:
    """The predictors as columns under their labels."""
    return [predictor.values for predictor in predictors]
