"""What is drawn from the published tables is what they say, cell by cell and whisker by whisker."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from geodiag import figures
from geodiag.figures import missing_panels, paper_tables
from geodiag.paper import load_paper
from tests.figures.artists import (
    bar_heights,
    bar_whiskers,
    cell_texts,
    cell_values,
    curves,
    estimates,
    hatched,
    whiskers,
    x_labels,
    y_labels,
)

FOUR = ["Update norm", "Active GC", "State gap", "Global gap"]
FAMILIES = ["q", "k", "v", "o", "gate", "up", "down"]


def draw(name: str):
    return getattr(figures, name)(paper_tables())


def intervals(frame: pl.DataFrame) -> list[tuple[float, float]]:
    return frame.select("ci_low", "ci_high").rows()


def test_strengths_of_all_runs() -> None:
    ax, _ = draw("fig02_global_and_method")
    assert bar_heights(ax) == [0.48, 0.30, 0.45, 0.59]
    assert bar_whiskers(ax) == [(0.2, 0.61), (0.0, 0.58), (0.21, 0.65), (0.36, 0.74)]
    assert x_labels(ax) == FOUR


def test_correlations_by_method() -> None:
    _, ax = draw("fig02_global_and_method")
    table = load_paper("table09")
    np.testing.assert_array_equal(cell_values(ax), table.drop("method").to_numpy())
    assert y_labels(ax) == table["method"].to_list()
    assert x_labels(ax) == [*FOUR, "Neg-grad ratio", "Min grad cos"]


@pytest.mark.parametrize(
    ("name", "panel", "table"),
    [
        ("fig05_intervals", 0, "table03"),
        ("fig05_intervals", 1, "table06"),
        ("fig05_intervals", 2, "table04"),
        ("fig08_step_correlations", 0, "table04"),
        ("fig08_step_correlations", 1, "table05"),
    ],
)
def test_forests(name: str, panel: int, table: str) -> None:
    ax, frame = draw(name)[panel], load_paper(table)
    assert [value for value, _ in estimates(ax)] == frame["spearman"].to_list()
    assert [(low, high) for low, high, _ in whiskers(ax)] == intervals(frame)


def test_geometry_against_gradients() -> None:
    ax, frame = draw("fig05_intervals")[3], load_paper("table07")
    expected = [v for row in frame.select("geometry_spearman", "gradient_spearman").rows() for v in row]
    assert [value for value, _ in estimates(ax)] == expected
    sides = [frame.select(f"{side}_ci_low", f"{side}_ci_high").rows() for side in ("geometry", "gradient")]
    both = [ends for pair in zip(*sides, strict=True) for ends in pair]
    assert [(low, high) for low, high, _ in whiskers(ax)] == both
    assert y_labels(ax)[0] == "Forgetting Global gap, Neg-grad ratio"


def test_pairs_by_size_and_method() -> None:
    for ax, table, by in zip(draw("fig09_pair_correlations"), ("table14", "table13"), ("size", "method"), strict=True):
        frame = load_paper(table)
        np.testing.assert_array_equal(
            cell_values(ax), frame.select("sar_gc", "sar_drop", "gc_drop", "gc_forget").to_numpy()
        )
        assert y_labels(ax) == frame[by].to_list()


def test_strength_by_size_with_turned_intervals() -> None:
    (ax,) = draw("fig01_state_dynamics")
    frame = load_paper("table04")
    sizes = ["0.6B", "1.7B", "4B", "8B", "14B"]
    expected = [
        [abs(rho(frame, size=size, signal=signal)) for size in sizes]
        for signal in frame["signal"].unique(maintain_order=True)
    ]
    np.testing.assert_array_equal(cell_values(ax), expected)
    assert (y_labels(ax), x_labels(ax)) == (FOUR, sizes)
    assert cell_texts(ax)[3, 4] == "0.86\n[0.32, 0.87]", "-0.86 in [-0.87, -0.32]"
    assert cell_texts(ax)[1, 0] == "0.54\n[0.04, 0.84]"


def test_state_relative_correlations() -> None:
    by_size, by_method, by_family = draw("fig10_state_dynamics_by_size")
    np.testing.assert_array_equal(cell_values(by_size), load_paper("fig10").drop("size").to_numpy())
    gaps = load_paper("table09").select("active_conflict", "state_gap", "global_gap")
    np.testing.assert_array_equal(cell_values(by_method), gaps.to_numpy())
    conflict, gradient = load_paper("table18").drop("ranking").rows()
    assert bar_heights(by_family) == [v for pair in zip(conflict, gradient, strict=True) for v in pair]
    assert x_labels(by_family) == FAMILIES


def test_outcomes_by_method_and_over_all_runs() -> None:
    table = load_paper("fig12")
    for ax, method in zip(draw("fig12_outcomes_by_method"), table["method"].unique(maintain_order=True), strict=True):
        assert ax.get_title().endswith(method)
        compare_map(ax, table.filter(pl.col("method") == method))
    compare_map(draw("fig13_outcomes")[0], load_paper("fig13"))


def compare_map(ax, frame: pl.DataFrame) -> None:
    signals, targets = (frame[name].unique(maintain_order=True).to_list() for name in ("signal", "target"))
    expected = [[rho(frame, signal=signal, target=target) for target in targets] for signal in signals]
    np.testing.assert_array_equal(cell_values(ax), expected)
    assert len(y_labels(ax)) == len(signals) == 6
    assert hatched(ax) == set()


def test_harmful_transitions_with_their_geometry() -> None:
    ax, strip = draw("fig16_harmful_transitions")
    frame = load_paper("table16")
    assert [bar.get_width() for bar in ax.patches] == frame["drop"].to_list()
    (diamonds,) = [line for line in ax.lines if line.get_marker() == "D"]
    assert list(diamonds.get_xdata()) == frame["forgetting"].to_list()
    assert y_labels(ax)[4] == "4B EWC, step 10: Math → Computer Science"
    np.testing.assert_array_equal(cell_values(strip), frame.select("sar", "geometry_conflict", "grad_cos").to_numpy())


def test_profile_of_families() -> None:
    axes, table = draw("fig17_family_profile"), load_paper("table17")
    names = ["median_sar", "mean_gc", "mean_grad_cos", "neg_grad_ratio"]
    for ax, name in zip(axes, names, strict=True):
        assert bar_heights(ax) == table[name].to_list()
        assert x_labels(ax) == FAMILIES


def test_top_layers_by_method_leave_what_the_text_does_not_name_blank() -> None:
    rankings = ("top_geometry_conflict", "top_negative_gradient")
    for ax, ranking in zip(draw("fig18_top_layers_by_method"), rankings, strict=True):
        frame = load_paper("fig18").filter(pl.col("ranking") == ranking)
        found = cell_values(ax)
        for k, method in enumerate(y_labels(ax)):
            given = dict(frame.filter(pl.col("method") == method).select("family", "share").rows())
            for j, family in enumerate(FAMILIES):
                assert found[k, j] == given.get(f"{family}_proj") or math.isnan(found[k, j])
        assert (~np.isnan(found)).sum() == frame.height


def test_final_performance() -> None:
    table = load_paper("table21")
    for ax, name in zip(draw("fig19_final_performance"), ("overall", "old_mean", "forgetting"), strict=True):
        assert x_labels(ax) == ["0.6B", "1.7B", "4B", "8B", "14B"]
        for method, (_, values) in curves(ax).items():
            assert list(values) == table.filter(pl.col("method") == method)[name].to_list()
        assert set(curves(ax)) == set(table["method"])


def test_panels_of_figure_three() -> None:
    bars, drop, forget, harm, layers, _, _ = draw("fig03_alignment_and_harm")
    assert bar_heights(bars) == [0.59, 0.32, 0.28, 0.46, 0.24, 0.33]
    by_method, by_size = load_paper("table13"), load_paper("table14")
    assert bar_heights(drop) == [*by_method["gc_drop"], *by_size["gc_drop"]]
    assert bar_heights(forget) == [*by_method["gc_forget"], *by_size["gc_forget"]]
    assert x_labels(drop) == [*by_method["method"], *by_size["size"]]
    assert [bar.get_width() for bar in harm.patches] == load_paper("table16")["drop"].head(8).to_list()
    assert len(bar_heights(layers)) == 14


@pytest.mark.parametrize("name", ["fig01_state_dynamics", "fig03_alignment_and_harm", "fig10_state_dynamics_by_size"])
def test_panels_without_published_rows_are_named(name: str) -> None:
    (missing,) = missing_panels(draw(name)[0])
    assert "were never published" in missing.reason


def test_captions_say_how_much_is_behind_the_numbers() -> None:
    steps, pairs, *_ = draw("fig05_intervals")
    assert (figures.caption(steps).n, figures.caption(steps).runs) == ("250", 20)
    assert figures.caption(pairs).counts == "n = 1820, 20 runs."
    by_size, by_method = draw("fig09_pair_correlations")
    assert figures.caption(by_size).n == "364 in each size"
    assert figures.caption(by_method).n == "455 in each method"


def rho(frame: pl.DataFrame, **where: str) -> float:
    return frame.row(by_predicate=pl.all_horizontal(pl.col(k) == v for k, v in where.items()), named=True)["spearman"]
