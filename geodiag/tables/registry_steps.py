"""The paper's tables of steps and whole runs."""

from __future__ import annotations

from geodiag.tables import panels, rankings, shows, steps
from geodiag.tables.pairs import final_overall, final_performance
from geodiag.tables.table import Table

STEP_TABLES: tuple[Table, ...] = (
    Table(
        "table03_global_step_confidence",
        "Table 3: step signals against forgetting",
        "Over all steps of all runs, which signals go with forgetting?",
        "The paper's p-value shuffles rows as if steps of one run were independent, and so finds too much; signals "
        "and forgetting drift with the step index together.",
        ("forgetting",),
        steps.global_confidence,
        key=("signal",),
        shows=shows.closest_signal,
    ),
    Table(
        "table04_scale_confidence",
        "Table 4: step signals against forgetting, by model size",
        "Does the relation hold at every size?",
        "A size has a handful of runs; the paper's interval from 4 runs says little, and one from fewer is not given.",
        ("forgetting",),
        steps.grouped_confidence("size"),
        key=("size", "signal"),
        shows=shows.closest_by("size"),
    ),
    Table(
        "table05_method_confidence",
        "Table 5: step signals against forgetting, by method",
        "Does the relation hold under every training method?",
        "As for table 4: few runs a method. A method that hardly forgets leaves little to explain.",
        ("forgetting",),
        steps.grouped_confidence("method"),
        key=("method", "signal"),
        shows=shows.closest_by("method"),
    ),
    Table(
        "table07_geometry_vs_gradient",
        "Table 7: geometry against gradients",
        "Does the best geometry signal follow an outcome more closely than the best gradient signal?",
        "Both are picked as the best in this store, which flatters them, and the difference has no interval here; "
        "`contrasts` has one.",
        ("scores", "conflict", "gradients"),
        steps.geometry_or_gradient,
        key=("target",),
    ),
    Table(
        "table08_step_estimates_by_scale",
        "Table 8: the estimates of tables 3 and 4 at one glance",
        "The same correlations without their intervals.",
        "See tables 3 and 4; all that is said there holds.",
        ("forgetting",),
        steps.estimates_by_scale,
    ),
    Table(
        "table09_method_step_correlations",
        "Table 9: signals and gradients against forgetting, by method",
        "Which signals work under which method?",
        "Point estimates of few runs each; `intervals` has their intervals.",
        ("forgetting",),
        steps.estimates_by_method,
        key=("method",),
    ),
    Table(
        "table10_step_predictor_ranking",
        "Table 10: step predictors ranked",
        "Which predictor follows an outcome most closely, and does it beat the bare step index and the norms?",
        "A rank is not a test; neighbours in the list cannot be told apart. Merged norm sums the layers' norms as the "
        "released code does, update norm is Euclidean; both forms of both are listed. SAR lies in 0..1 here, so "
        "clipping changes nothing.",
        ("scores",),
        rankings.step_ranking,
        key=("target", "predictor"),
        shows=shows.rank_of("Step index"),
        panels=panels.by_target,
    ),
    Table(
        "table20_final_overall",
        "Table 20: final overall score and forgetting",
        "Where did each size and method end?",
        "Where several runs share size and method, their mean stands here without its spread.",
        ("scores",),
        final_overall,
        shows=shows.most_forgotten,
    ),
    Table(
        "table21_final_performance",
        "Table 21: final performance",
        "How well does the last model of each run solve all tasks, the old ones and the last one?",
        "As for table 20. The last task's score depends on which task was last.",
        ("scores",),
        final_performance,
        key=("size", "method"),
        shows=shows.most_forgotten,
    ),
)
"""Tables of steps and of runs."""
