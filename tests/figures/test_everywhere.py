"""Every figure on every kind of store: it draws, or says in one line what the store lacks; and never lies."""

from __future__ import annotations

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from geodiag import figures
from geodiag.errors import SettingsError
from geodiag.figures import FIGURES, NothingToDraw, caption, paper_tables
from geodiag.figures.captions import BASELINE_NOTE, GAP_NOTE, join
from geodiag.figures.theme import TINY, TWO_COLUMNS
from tests.figures.artists import cell_texts, cell_values, hatched, mesh, texts, x_labels, y_labels
from tests.figures.conftest import BY_NAME, SHAPES

NAMES = sorted(BY_NAME)
LACKING = {
    "one_step": {
        "pair_conflict_heatmap",
        "pair_change_heatmap",
        "fig02_global_and_method",
        "fig06_signals_and_forgetting",
    },
    "no_scores": {"fig02_global_and_method", "fig06_signals_and_forgetting", "fig16_harmful_transitions", "confounds"},
    "one_run": {"incremental_value"},
}
"""Some of the figures that a store cannot fill."""
SHARED = {
    *("fig01_state_dynamics", "fig10_state_dynamics_by_size", "fig11_step_dynamics", "fig12_outcomes_by_method"),
    *("fig03_alignment_and_harm", "fig16_harmful_transitions", "step_dynamics", "depth_profile"),
}
"""Figures whose axes share labels, which stand at the first (vertical) and the last (horizontal)."""


BY_TASK = {
    *("pair_conflict_heatmap", "pair_change_heatmap", "fig14_pair_change_by_method", "fig15_pair_conflict_by_method"),
    *("fig01_state_dynamics", "fig11_step_dynamics", "step_dynamics"),
}
"""Figures that grow with the number of tasks."""
CASES = [
    pytest.param(name, shape, marks=pytest.mark.slow if shape == "one_size" else ())
    for name in NAMES
    for shape in sorted(SHAPES)
    if shape != "forty_tasks" or name in BY_TASK
]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_a_figure_draws_or_says_what_is_lacking(drawn, name: str, shape: str) -> None:
    axes = drawn(name, shape)
    if isinstance(axes, NothingToDraw):
        assert shape not in ("plain", "gaps")
        assert 20 < len(str(axes)) < 600
        assert "\n" not in str(axes)
    else:
        assert name not in LACKING.get(shape, ())
        check_axes(axes)
        if shape in ("plain", "forty_tasks"):
            check_texts(axes[0])
        assert axes[0].figure.get_size_inches()[0] <= TWO_COLUMNS


def check_axes(axes: list[Axes]) -> None:
    for ax in axes:
        said = caption(ax)
        assert said.table
        assert said.rows >= 0
        assert all(np.isfinite(line.get_xydata()).any() or not len(line.get_xydata()) for line in ax.lines)


def check_texts(ax: Axes) -> None:
    for text in texts(ax):
        assert text.get_fontsize() >= TINY
        assert not {"nan", "None", "null"} & set(text.get_text().split())


@pytest.mark.parametrize("shape", ["plain", "one_run", pytest.param("one_method", marks=pytest.mark.slow), "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_no_text_leaves_the_figure(drawn, name: str, shape: str) -> None:
    axes = drawn(name, shape)
    if isinstance(axes, NothingToDraw):
        return
    canvas = axes[0].figure
    canvas.draw_without_rendering()
    width, height = canvas.bbox.size
    for ax in canvas.axes:
        box = ax.get_tightbbox()
        assert -1 <= box.x0 <= box.x1 <= width + 1
        assert -1 <= box.y0 <= box.y1 <= height + 1


@pytest.mark.parametrize("shape", ["plain", "one_run", "one_method", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_colours_of_cells_are_explained(drawn, name: str, shape: str) -> None:
    """Some colour bar of the figure has the colours and range of every heatmap in it, or the caption says the range."""
    axes = drawn(name, shape)
    if isinstance(axes, NothingToDraw):
        return
    bars = {(bar.mappable.cmap.name, *bar.mappable.get_clim()) for bar in colour_bars(axes[0].figure)}
    for ax in axes:
        for cells in [c for c in ax.collections if isinstance(c, QuadMesh)]:
            assert (cells.cmap.name, *cells.get_clim()) in bars or "colours from" in caption(ax).text


def colour_bars(canvas) -> list:
    return [ax._colorbar for ax in canvas.axes if hasattr(ax, "_colorbar")]


@pytest.mark.parametrize("name", NAMES)
def test_axes_say_what_they_measure(drawn, name: str) -> None:
    axes = drawn(name, "plain")
    across = [bool(ax.get_xlabel() or any(x_labels(ax))) for ax in axes]
    up = [bool(ax.get_ylabel() or any(y_labels(ax))) for ax in axes]
    assert (up[0] and across[-1]) if name in SHARED else all(across + up)


@pytest.mark.parametrize("name", NAMES)
def test_empty_cells_are_never_drawn_as_numbers(drawn, name: str) -> None:
    for ax in drawn(name, "gaps"):
        if any(isinstance(c, QuadMesh) for c in ax.collections):
            found = cell_values(ax)
            empty = {tuple(at) for at in np.argwhere(np.isnan(found)).tolist()}
            assert not empty & cell_texts(ax).keys()
            assert hatched(ax) <= empty
            low, high = mesh(ax).get_clim()
            inside = found[~np.isnan(found)]
            assert low <= inside.min()
            assert inside.max() <= high


@pytest.mark.parametrize("source", ["plain", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_the_global_gap_never_stands_without_what_it_carries(drawn, source: str, name: str) -> None:
    axes = drawn(name, source)
    for ax in [] if isinstance(axes, NothingToDraw) else axes:
        legend = ax.get_legend()
        names = {*x_labels(ax), *y_labels(ax), ax.get_xlabel(), *(line.get_label() for line in ax.lines)}
        names |= {text.get_text() for text in legend.get_texts()} if legend else set()
        if any("Global gap" in text for text in names):
            assert GAP_NOTE in str(caption(ax))
            assert (BASELINE_NOTE in str(caption(ax))) == ("Step index" in names)


@pytest.mark.parametrize("name", ["fig02_global_and_method", "fig05_intervals", "fig13_outcomes", "confounds"])
def test_the_step_index_stands_beside_the_headline(drawn, name: str) -> None:
    ax = drawn(name, "plain")[0]
    assert "Step index" in {*x_labels(ax), *y_labels(ax)}


def test_the_baseline_is_the_pooled_correlation_of_the_step(drawn, tables) -> None:
    ax = drawn("fig13_outcomes", "plain")[0]
    rows = tables("plain").get("confounds").filter(pl.col("signal") == "step", pl.col("correlation") == "pooled")
    own = dict(rows.select("target", "rho").rows())
    expected = [own["forgetting"], own["old_mean"], own["worst_drop"], own["overall"]]
    np.testing.assert_array_equal(cell_values(ax)[-1], expected)


GIVEN = ["fig03_alignment_and_harm", "fig10_state_dynamics_by_size", "fig15_pair_conflict_by_method", "step_dynamics"]


@pytest.mark.parametrize("name", GIVEN)
def test_figures_draw_into_several_axes_given(drawn, tables, name: str) -> None:
    figure, count = BY_NAME[name], len(drawn(name, "plain"))
    canvas, given = plt.subplots(1, count, squeeze=False, figsize=(4, 3))
    chosen = {"run": "4b-ewc"} if figure.per_run else {}
    assert figure.draw(tables("plain"), **chosen, axes=list(given[0])) == list(given[0])
    assert canvas.get_size_inches().tolist() == [4, 3]
    with pytest.raises(SettingsError, match=rf"{count + 1} axes were given; this data \w+ {count}"):
        figure.draw(tables("plain"), **chosen, axes=[*given[0], given[0, 0]])


@pytest.mark.parametrize("name", ["family_heatmap", "pair_conflict_heatmap", "pair_change_heatmap", "confounds"])
def test_figures_draw_into_axes_given(tables, name: str) -> None:
    canvas, ax = plt.subplots(figsize=(4, 3))
    assert getattr(figures, name)(tables("plain"), ax=ax) is ax
    assert canvas.get_size_inches().tolist() == [4, 3]


def test_names_are_functions_and_unique() -> None:
    assert len(BY_NAME) == len(FIGURES)
    for name, figure in BY_NAME.items():
        assert getattr(figures, name) is figure.draw
        assert figure.draw.__doc__
        assert figure.title
        assert figure.needs
        assert figure.tables


@pytest.mark.parametrize("shape", ["plain", "forty_tasks"])
@pytest.mark.parametrize("name", ["pair_conflict_heatmap", "step_dynamics"])
def test_task_names_neither_overlap_nor_leave_the_figure(drawn, shape: str, name: str) -> None:
    ax = drawn(name, shape)[-1]
    ax.figure.draw_without_rendering()
    for labels, edge in ((ax.get_xticklabels(), "x"), (ax.get_yticklabels(), "y")):
        boxes = [label.get_window_extent() for label in labels if label.get_text()]
        ends = sorted((getattr(box, f"{edge}0"), getattr(box, f"{edge}1")) for box in boxes)
        assert all(one[1] <= other[0] + 0.5 for one, other in pairwise(ends))
        assert all(box.x0 >= -1 and box.y0 >= -1 for box in boxes)


def test_frames_of_pandas_and_mappings_are_read(tables) -> None:
    frame = tables("plain").get("confounds")
    first, second = figures.confounds(frame), figures.confounds(frame.to_pandas())
    assert y_labels(first) == y_labels(second)
    assert figures.fig13_outcomes(
        {"fig13_step_explanation_heatmap": paper_tables().get("fig13_step_explanation_heatmap")}
    )
    with pytest.raises(SettingsError, match="cannot draw from int; give a store, a polars or pandas frame"):
        figures.confounds(3)
    with pytest.raises(SettingsError, match="confounds lacks low, high; give signal"):
        figures.confounds(frame.drop("low", "high"))
    with pytest.raises(NothingToDraw, match="table confounds was not given; given: other"):
        figures.confounds({"other": frame})


def test_captions_of_panels_say_common_things_once(tables) -> None:
    axes = figures.fig11_step_dynamics(tables("plain"))
    whole = join([caption(ax) for ax in axes])
    assert whole.count(GAP_NOTE) == 1
    assert whole.count("4B under EWC") == 1
    assert "n = 5, 1 run." in whole
