"""The numbers behind the paper's figures of correlations, which have no table of their own."""

from __future__ import annotations

from geodiag.tables import layers, panels, steps
from geodiag.tables.table import Table

FIGURE_TABLES: tuple[Table, ...] = (
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
        "Point estimates of few runs each.",
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
        "Point estimates; `confounds` has their intervals.",
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
