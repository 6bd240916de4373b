"""The paper's tables of pairs of tasks and of layers."""

from __future__ import annotations

from geodiag.tables import layers, pairs, panels, rankings, shows
from geodiag.tables.table import Table

PAIR_TABLES: tuple[Table, ...] = (
    Table(
        "table06_pairwise_confidence",
        "Table 6: alignment and conflict of pairs",
        "Over all pairs of a new and an old task, does conflict go with what the old task lost?",
        "A step has as many pairs as old tasks, all sharing the new one: n is far from the number of independent "
        "observations, and the paper's p-value takes it for that.",
        ("pairs",),
        pairs.pair_confidence,
        key=("relation",),
        shows=shows.closest_signal,
    ),
    Table(
        "table11_pairwise_estimates_by_method",
        "Table 11: the correlations of table 13 alone",
        "The same correlations at one glance.",
        "See table 13.",
        ("pairs",),
        pairs.pair_estimates_by_method,
    ),
    Table(
        "table13_pairwise_by_method",
        "Table 13: pairs by method",
        "Does what holds of pairs depend on the method?",
        "Point estimates; `intervals` has their intervals. n counts pairs, not independent observations.",
        ("pairs",),
        pairs.pairs_by("method"),
        key=("method",),
        shows=shows.highest("median_gc", "Median conflict", by="method"),
    ),
    Table(
        "table14_pairwise_by_scale",
        "Table 14: pairs by model size",
        "Does what holds of pairs depend on the size?",
        "As for table 13.",
        ("pairs",),
        pairs.pairs_by("size"),
        key=("size",),
        shows=shows.highest("median_gc", "Median conflict", by="size"),
    ),
    Table(
        "table15_pair_predictor_ranking",
        "Table 15: pair predictors ranked",
        "Which predictor follows an old task's fate most closely, and does it beat the task's age and the norms?",
        "A rank is not a test. The step's norms are the same for all pairs of a step.",
        ("forgetting", "pairs"),
        rankings.pair_ranking,
        key=("target", "predictor"),
        shows=shows.rank_of("Steps since"),
        panels=panels.by_target,
    ),
    Table(
        "table16_harmful_transitions",
        "Table 16: the most harmful transitions",
        "At which steps did an old task lose most at once, and what did the two updates look like?",
        "The worst of many: such a list is dominated by single events and by noisy scores of small test sets.",
        ("forgetting",),
        pairs.harmful_transitions,
        key=("size", "method", "step", "new_task", "old_task"),
        shows=shows.worst_step,
    ),
    Table(
        "table17_family_summary",
        "Table 17: projection families",
        "Which families of layers conflict most, in geometry and in gradients?",
        "Families differ in width and in the size of their updates, and conflict depends on both.",
        ("conflict",),
        layers.family_summary,
        key=("family",),
        shows=shows.highest("mean_gc", "Mean conflict", by="family"),
    ),
    Table(
        "table18_top_layer_families",
        "Table 18: families of the layers that stand out",
        "Which families do the layers with most conflict, or most opposed gradients, belong to?",
        "A share depends on how many layers a family has. Here every step gives its top layers and counts the same; "
        "the released code takes the 200 highest of a run's rows, one a pair and layer, so that late steps decide.",
        ("conflict",),
        layers.top_families,
        key=("ranking",),
        shows=shows.largest_share,
    ),
)
"""Tables of pairs and of layers."""
