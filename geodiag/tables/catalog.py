"""The catalogue of tables, in the order of the page."""

from __future__ import annotations

from geodiag.tables import layers, pairs, panels, rankings, steps
from geodiag.tables import sentences as shows
from geodiag.tables.confounds import pair_confounds, step_confounds
from geodiag.tables.incremental import incremental
from geodiag.tables.intervals import intervals
from geodiag.tables.pairs import final_overall, final_performance
from geodiag.tables.rankings import contrasts
from geodiag.tables.table import AnalysisTable

FIGURE_TABLES: tuple[AnalysisTable, ...] = (
    AnalysisTable(
        "intervals",
        "Intervals of the correlations that stand without one",
        "How sure are the correlations of tables 8 to 14 and of figures 10, 12 and 13?",
        "The paper's intervals, from resampling whole runs: a little short at 20 runs, more so in a group of a few, "
        "and not given below 4. Pooled over a group, so the step index is in all of them; `confounds` takes it out.",
        ("correlations",),
        intervals,
        part="figure",
        panels=panels.interval_panels,
    ),
    AnalysisTable(
        "fig10_seq_sft_retention_loss_correlations",
        "Figure 10: geometry against retention loss under Seq. SFT, by size",
        "Without any protection against forgetting, does geometry go with what was lost?",
        "Often a single run a size: a correlation over its steps, in which everything drifts. Retention loss is "
        "positive where something was lost, so signs are opposite to those of forgetting.",
        ("forgetting", "seq_sft"),
        steps.retention_by_size,
        part="figure",
        key=("size",),
    ),
    AnalysisTable(
        "fig12_method_correlation_heatmaps",
        "Figure 12: signals against outcomes, by method",
        "Which signals follow which outcome under which method?",
        "Point estimates of few runs each; `intervals` has their intervals.",
        ("scores",),
        steps.maps_by_method,
        part="figure",
        key=("method", "signal", "target"),
        panels=panels.pivoted("target", values="spearman"),
    ),
    AnalysisTable(
        "fig13_step_explanation_heatmap",
        "Figure 13: signals against outcomes",
        "Which signals follow which outcome over all steps?",
        "Point estimates; `intervals` has their intervals, and `confounds` those at a fixed step.",
        ("scores",),
        steps.step_map,
        part="figure",
        key=("signal", "target"),
        panels=panels.pivoted("target", values="spearman"),
    ),
    AnalysisTable(
        "fig18_top_layer_families_by_method_in_text",
        "Figure 18: families of the layers that stand out, by method",
        "Do other layers stand out under other methods?",
        "As for table 18. The paper's text names only the largest shares.",
        ("conflict",),
        layers.top_families_by_method,
        part="figure",
        key=("ranking", "method", "family"),
        panels=panels.pivoted("family", values="share"),
    ),
)
"""Numbers of figures."""


OUR_TABLES: tuple[AnalysisTable, ...] = (
    AnalysisTable(
        "incremental",
        "What each signal adds to step index and norms",
        "Does a signal say anything about what was lost that the step index, the update norm and the state norm do "
        "not say already?",
        "A slope is of ranks and linear; with few runs much that is real is missed, so a verdict says what the data "
        "can tell, not what is true. A step's index, update norm and state norm are each tested beside the other two.",
        ("forgetting",),
        incremental,
        part="ours",
        shows=shows.verdicts,
        panels=panels.incremental_panels,
    ),
    AnalysisTable(
        "confounds",
        "Every signal against every outcome, five ways",
        "How much of a pooled correlation is the step index, the size of the updates, or a difference between runs?",
        "Norm sums and norms, global and plain conflict are nearly the same signal, so their rows are not separate "
        "findings; adjusted p-values count the tests of one correlation over all signals and outcomes.",
        ("scores",),
        step_confounds,
        part="ours",
        shows=shows.confounded,
        panels=panels.confound_panels,
    ),
    AnalysisTable(
        "confounds_pairs",
        "Every pair signal against what became of the old task, five ways",
        "Do updates that conflict with an old task's harm that task more than others?",
        "Pairs of one step share the new task and pairs of one old task share its past; only runs count as "
        "independent. Runs stand opposite each other by step and by how long ago the old task was trained.",
        ("forgetting", "pairs"),
        pair_confounds,
        part="ours",
        shows=shows.confounded,
        panels=panels.confound_panels,
    ),
    AnalysisTable(
        "contrasts",
        "Which of two signals follows forgetting more closely",
        "Does geometry beat the bare step index, the norms and the gradients?",
        "The larger of two correlations is no proof: only an interval that leaves out 0 is. Near ρ = 0 the absolute "
        "value bends and intervals are too wide.",
        ("forgetting",),
        contrasts,
        part="ours",
        shows=shows.gap_against_step,
        panels=panels.contrast_panels,
    ),
)
"""Ours, the first to read first."""


PAIR_TABLES: tuple[AnalysisTable, ...] = (
    AnalysisTable(
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
    AnalysisTable(
        "table11_pairwise_estimates_by_method",
        "Table 11: the correlations of table 13 alone",
        "The same correlations at one glance.",
        "See table 13.",
        ("pairs",),
        pairs.pair_estimates_by_method,
    ),
    AnalysisTable(
        "table13_pairwise_by_method",
        "Table 13: pairs by method",
        "Does what holds of pairs depend on the method?",
        "Point estimates; `intervals` has their intervals. n counts pairs, not independent observations.",
        ("pairs",),
        pairs.pairs_by("method"),
        key=("method",),
        shows=shows.highest("median_gc", "Median conflict", by="method"),
    ),
    AnalysisTable(
        "table14_pairwise_by_scale",
        "Table 14: pairs by model size",
        "Does what holds of pairs depend on the size?",
        "As for table 13.",
        ("pairs",),
        pairs.pairs_by("size"),
        key=("size",),
        shows=shows.highest("median_gc", "Median conflict", by="size"),
    ),
    AnalysisTable(
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
    AnalysisTable(
        "table16_harmful_transitions",
        "Table 16: the most harmful transitions",
        "At which steps did an old task lose most at once, and what did the two updates look like?",
        "The worst of many: such a list is dominated by single events and by noisy scores of small test sets.",
        ("forgetting",),
        pairs.harmful_transitions,
        key=("size", "method", "step", "new_task", "old_task"),
        shows=shows.worst_step,
    ),
    AnalysisTable(
        "table17_family_summary",
        "Table 17: projection families",
        "Which families of layers conflict most, in geometry and in gradients?",
        "Families differ in width and in the size of their updates, and conflict depends on both.",
        ("conflict",),
        layers.family_summary,
        key=("family",),
        shows=shows.highest("mean_gc", "Mean conflict", by="family"),
    ),
    AnalysisTable(
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


STEP_TABLES: tuple[AnalysisTable, ...] = (
    AnalysisTable(
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
    AnalysisTable(
        "table04_scale_confidence",
        "Table 4: step signals against forgetting, by model size",
        "Does the relation hold at every size?",
        "A size has a handful of runs; the paper's interval from 4 runs says little, and one from fewer is not given.",
        ("forgetting",),
        steps.grouped_confidence("size"),
        key=("size", "signal"),
        shows=shows.closest_by("size"),
    ),
    AnalysisTable(
        "table05_method_confidence",
        "Table 5: step signals against forgetting, by method",
        "Does the relation hold under every training method?",
        "As for table 4: few runs a method. A method that hardly forgets leaves little to explain.",
        ("forgetting",),
        steps.grouped_confidence("method"),
        key=("method", "signal"),
        shows=shows.closest_by("method"),
    ),
    AnalysisTable(
        "table07_geometry_vs_gradient",
        "Table 7: geometry against gradients",
        "Does the best geometry signal follow an outcome more closely than the best gradient signal?",
        "Both are picked as the best in this store, which flatters them, and the difference has no interval here; "
        "`contrasts` has one.",
        ("scores", "conflict", "gradients"),
        steps.geometry_or_gradient,
        key=("target",),
    ),
    AnalysisTable(
        "table08_step_estimates_by_scale",
        "Table 8: the estimates of tables 3 and 4 at one glance",
        "The same correlations without their intervals.",
        "See tables 3 and 4; all that is said there holds.",
        ("forgetting",),
        steps.estimates_by_scale,
    ),
    AnalysisTable(
        "table09_method_step_correlations",
        "Table 9: signals and gradients against forgetting, by method",
        "Which signals work under which method?",
        "Point estimates of few runs each; `intervals` has their intervals.",
        ("forgetting",),
        steps.estimates_by_method,
        key=("method",),
    ),
    AnalysisTable(
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
    AnalysisTable(
        "table20_final_overall",
        "Table 20: final overall score and forgetting",
        "Where did each size and method end?",
        "Where several runs share size and method, their mean stands here without its spread.",
        ("scores",),
        final_overall,
        shows=shows.most_forgotten,
    ),
    AnalysisTable(
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


ANALYSIS_TABLES: tuple[AnalysisTable, ...] = (
    *OUR_TABLES,
    *sorted((*STEP_TABLES, *PAIR_TABLES), key=lambda table: table.name),
    *FIGURE_TABLES,
)
"""All tables: ours, the paper's by number, the numbers of its figures. Adding one is one entry in its list."""
