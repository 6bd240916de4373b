"""The numbers behind the paper's figures of correlations, which have no table of their own."""

from __future__ import annotations

from geodiag.tables import layers, panels, steps
from geodiag.tables.intervals import intervals
from geodiag.tables.table import Table

FIGURE_TABLES: tuple[Table, ...] = (
    Table(
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
    Table(
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
    Table(
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
    Table(
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
    Table(
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
