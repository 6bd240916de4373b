"""Every figure, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from geodiag.errors import SettingsError
from geodiag.figures import correlation_figures as correlations
from geodiag.figures import dynamics, family_figures, outcomes, pair_figures, scatter
from geodiag.figures.correlation_figures import confounds, incremental_value
from geodiag.figures.dynamics import step_dynamics
from geodiag.figures.family_figures import family_heatmap
from geodiag.figures.pair_figures import pair_change_heatmap, pair_conflict_heatmap


@dataclass(frozen=True)
class Figure:
    """One figure."""

    title: str
    """Its heading."""
    draw: Callable[..., Axes | Sequence[Axes]]
    """Draws it from a store or its tables, into axes given or new ones."""
    tables: tuple[str, ...]
    """The tables it is drawn from, the first of which a bare frame is taken for."""
    needs: str = "steps"
    """What the store must hold, in words."""
    per_run: bool = False
    """Whether it shows one run, so that there is one for each."""

    @property
    def name(self) -> str:
        """The stem of its file, which is the name of its function."""
        return self.draw.__name__


_BY_SIZE, _BY_METHOD = correlations.BY_SIZE, correlations.BY_METHOD
_PAIRS = ("table13_pairwise_by_method", "table14_pairwise_by_scale")
_SHARES = ("table18_top_layer_families", "fig18_top_layer_families_by_method_in_text")
_SCORED, _PAIRED = "scores of two steps or more", "tasks that were compared, and scores"

FIGURES: tuple[Figure, ...] = (
    Figure(
        "State dynamics under one method, and strength of signals by size",
        dynamics.fig01_state_dynamics,
        ("step_signals", _BY_SIZE),
        _SCORED,
    ),
    Figure(
        "Signals and forgetting, over all runs and by method",
        correlations.fig02_global_and_method,
        ("table03_global_step_confidence", "table09_method_step_correlations", "confounds"),
        _SCORED,
    ),
    Figure(
        "Alignment, conflict and harm",
        pair_figures.fig03_alignment_and_harm,
        ("pair_signals", "table07_geometry_vs_gradient", *_PAIRS, "table16_harmful_transitions", *_SHARES),
        _PAIRED,
    ),
    Figure(
        "Correlations with their intervals",
        correlations.fig05_intervals,
        (
            *("table03_global_step_confidence", "table06_pairwise_confidence", _BY_SIZE),
            *("table07_geometry_vs_gradient", "confounds"),
        ),
        _SCORED,
    ),
    Figure("Signals against forgetting", scatter.fig06_signals_and_forgetting, ("step_signals",), _SCORED),
    Figure(
        "Alignment, conflict and old-task change", scatter.fig07_alignment_conflict_change, ("pair_signals",), _PAIRED
    ),
    Figure(
        "Step correlations by size and method", correlations.fig08_step_correlations, (_BY_SIZE, _BY_METHOD), _SCORED
    ),
    Figure("Pair correlations by size and method", correlations.fig09_pair_correlations, _PAIRS, _PAIRED),
    Figure(
        "State-relative dynamics by size",
        dynamics.fig10_state_dynamics_by_size,
        ("step_signals", dynamics.OWN_LOSS, "table09_method_step_correlations", _SHARES[0]),
        _SCORED,
    ),
    Figure("Step dynamics of every run", dynamics.fig11_step_dynamics, ("step_signals",), "steps of two tasks or more"),
    Figure(
        "Signals and outcomes by method",
        correlations.fig12_outcomes_by_method,
        (correlations.OUTCOMES_BY_METHOD,),
        _SCORED,
    ),
    Figure("Signals and outcomes", correlations.fig13_outcomes, (correlations.OUTCOMES, "confounds"), _SCORED),
    Figure("Change of old tasks by method", pair_figures.fig14_pair_change_by_method, ("pair_signals",), _SCORED),
    Figure(
        "Conflict of tasks by method",
        pair_figures.fig15_pair_conflict_by_method,
        ("pair_signals",),
        "tasks that were compared",
    ),
    Figure("Most harmful transitions", outcomes.fig16_harmful_transitions, (outcomes.HARMFUL,), _SCORED),
    Figure("Profile of projection families", family_figures.fig17_family_profile, ("table17_family_summary",)),
    Figure("Top layers by method", family_figures.fig18_top_layers_by_method, (_SHARES[1],)),
    Figure("Final performance", outcomes.fig19_final_performance, (outcomes.FINAL,), "scores"),
    Figure("Signals with runs and the step index taken apart", confounds, ("confounds",), _SCORED),
    Figure("What signals add to step and norms", incremental_value, ("incremental",), "scores of several runs"),
    Figure("Conflict by block and family", family_figures.depth_profile, ("layer_signals",)),
    Figure("Signals by projection family", family_heatmap, ("family_signals",)),
    Figure("Conflict of tasks", pair_conflict_heatmap, ("pair_signals",), "tasks that were compared"),
    Figure("Change of old tasks", pair_change_heatmap, ("pair_signals",), _SCORED),
    Figure("Steps of a run", step_dynamics, ("step_signals",), per_run=True),
)
"""All figures. Adding one is one entry here and one function that draws it."""


def select_figures(only: Iterable[str] | None) -> list[Figure]:
    """Figures by name, or by the beginning of a name up to an underscore ("fig05").

    Raises:
        SettingsError: there is no figure of that name.
    """
    if only is None:
        return list(FIGURES)
    wanted = [only] if isinstance(only, str) else list(only)
    for name in wanted:
        if not any(_is_named(figure, name) for figure in FIGURES):
            known = ", ".join(figure.name for figure in FIGURES)
            raise SettingsError(f"no figure {name!r}", fix=f"one of: {known}")
    return [figure for figure in FIGURES if any(_is_named(figure, name) for name in wanted)]


def _is_named(figure: Figure, name: str) -> bool:
    return figure.name == name or figure.name.startswith(f"{name}_")
