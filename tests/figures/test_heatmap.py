"""The generic heatmap: what is in the table is in the cells, and what is not looks empty."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from geodiag.figures.axes import one_axes
from geodiag.figures.colors import Scale, centred_scale, correlation_scale, round_up, share_scale, span_scale
from geodiag.figures.heatmap import cells, draw_cells, even_ticks, heatmap_size
from geodiag.figures.theme import ONE_COLUMN, TWO_COLUMNS
from tests.figures.artists import cell_texts, cell_values, hatched, mesh, x_labels, y_labels

FRAME = pl.DataFrame(
    [("a", "x", 0.25), ("a", "y", 0.0), ("b", "x", None), ("b", "z", -0.5), ("c", "x", 9.0)],
    schema=["row", "column", "value"],
    orient="row",
)


def drawn(scale: Scale | None = None, **options):
    order = {"row_order": ["a", "b"], "column_order": ["x", "y", "z"]}
    matrix = cells(FRAME, rows="row", columns="column", value="value", **order)
    ax = one_axes(None, (3, 2))
    draw_cells(ax, matrix, scale or correlation_scale(), **options)
    return ax


def test_values_stand_where_the_table_puts_them() -> None:
    expected = [[0.25, 0.0, np.nan], [np.nan, np.nan, -0.5]]
    ax = drawn()
    np.testing.assert_array_equal(cell_values(ax), expected)
    assert (y_labels(ax), x_labels(ax)) == (["a", "b"], ["x", "y", "z"])
    assert ax.get_ylim() == (2, 0), "the first row is on top"


def test_cells_without_a_value_look_empty_and_not_like_zero() -> None:
    ax = drawn()
    assert hatched(ax) == {(1, 0)}, "the table names this cell and has no value"
    assert cell_texts(ax) == {(0, 0): "0.25", (0, 1): "0.00", (1, 2): "−0.50"}
    ax.figure.canvas.draw()
    colors = mesh(ax).get_facecolor().reshape(2, 3, 4)
    assert colors[0, 1, 3] == 1, "zero is a colour"
    assert (colors[[0, 1, 1], [2, 0, 1], 3] == 0).all(), "empty cells are transparent"


def test_the_colour_bar_names_both_ends_and_the_measure() -> None:
    ax = drawn(Scale("RdBu_r", -0.4, 0.4, "Change (fraction)"))
    (bar,) = [other for other in ax.figure.axes if other is not ax]
    assert bar.get_ylabel() == "Change (fraction)"
    assert [t.get_text() for t in bar.get_yticklabels()] == ["−0.4", "−0.2", "0", "0.2", "0.4"]
    assert mesh(ax).get_clim() == (-0.4, 0.4)


@pytest.mark.parametrize(("value", "expected"), [(0.129, 0.2), (0.2, 0.2), (0.3, 0.3), (7, 7), (11, 20), (0.07, 0.07)])
def test_limits_are_rounded_up_to_one_digit(value: float, expected: float) -> None:
    assert round_up(value) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0.4, [0, 0.1, 0.2, 0.3, 0.4]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (-0.3, 0.3, [-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3]),
        (0.3, 0.6, [0.3, 0.4, 0.5, 0.6]),
        (0.3, 0.9, [0.3, 0.5, 0.7, 0.9]),
        (0.1, 0.2, [0.1, 0.125, 0.15, 0.175, 0.2]),
        (-0.7, 0.7, [-0.7, -0.35, 0, 0.35, 0.7]),
        (2, 5, [2, 3, 4, 5]),
    ],
)
def test_ticks_are_round_and_name_both_ends(low: float, high: float, expected: list[float]) -> None:
    assert even_ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "ends"),
    [([0.0123, 0.456], (0, 0.5)), ([12.0, 431.0], (0, 500)), ([0.31, 0.32], (0.31, 0.32)), ([-3.1, 8.7], (-4, 10))],
)
def test_spans_end_on_round_numbers(values: list[float], ends: tuple[float, float]) -> None:
    scale = span_scale(values, "x")
    assert (scale.low, scale.high) == pytest.approx(ends)


def test_scales_span_what_they_say() -> None:
    around = centred_scale([0.01, np.nan, -0.129], "x")
    assert (around.low, around.high) == pytest.approx((-0.2, 0.2))
    assert (centred_scale([np.nan], "x").low, centred_scale([0.0], "x").high) == (-1, 1)
    assert (span_scale([2, np.nan, 5], "x").low, span_scale([2, np.nan, 5], "x").high) == (2, 5)
    flat = span_scale([3.0, 3.0], "x")
    assert flat.low == 3 < flat.high


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([0.31, np.nan, 0.52], 0.3, 0.6), ([0.3, 0.7], 0.3, 0.7), ([0.4], 0.4, 0.5), ([0, 1], 0, 1)],
)
def test_shares_span_whole_tenths(values: list[float], low: float, high: float) -> None:
    scale = share_scale(values, "x")
    assert (scale.low, scale.high) == pytest.approx((low, high))
    assert share_scale(values, "x", from_zero=True).low == 0


def test_numbers_in_cells_can_be_read_on_every_colour() -> None:
    """Contrast of text and cell is at least 3 to 1 for every value (WCAG 2, computed here from its definition)."""
    values = np.linspace(-1, 1, 41)
    for scale in (correlation_scale(), Scale("viridis", -1, 1, ""), Scale("Purples", -1, 1, "")):
        frame = pl.DataFrame({"row": "a", "column": [str(k) for k in range(41)], "value": values})
        names = frame["column"].to_list()
        matrix = cells(frame, rows="row", columns="column", value="value", row_order=["a"], column_order=names)
        ax = one_axes(None, (3, 2))
        found = draw_cells(ax, matrix, scale)
        for text, value in zip(ax.texts, values, strict=True):
            assert contrast(found.to_rgba([value])[0], text.get_color()) >= 3


def contrast(one, other) -> float:
    light = sorted((luminance(one), luminance(other)))
    return (light[1] + 0.05) / (light[0] + 0.05)


def luminance(color) -> float:
    from matplotlib.colors import to_rgb

    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize(("count", "width"), [(3, ONE_COLUMN), (13, ONE_COLUMN), (40, TWO_COLUMNS)])
def test_a_figure_is_a_column_wide_and_has_room_for_every_row(count: int, width: float) -> None:
    size = heatmap_size(count, count, labels=16)
    assert size[0] == width
    assert (size[1] - 0.35 - 16 * 0.05) / count >= 5.2 * 1.2 / 72
