"""Estimates, whiskers and bars stand where their table puts them."""

from __future__ import annotations

import polars as pl
import pytest

from geodiag.figures.axes import one_axes
from geodiag.figures.correlation_panels import strengths
from geodiag.figures.estimates import Estimates, Series, draw_bars, draw_forest
from tests.figures.artists import bar_heights, bar_whiskers, estimates, hollow, whiskers, x_labels, y_labels

FRAME = pl.DataFrame(
    [
        ("small", "one", -0.5, -0.7, -0.1),
        ("small", "two", 0.2, None, None),
        ("large", "one", None, None, None),
        ("large", "two", 0.4, -0.1, 0.9),
    ],
    schema=["size", "signal", "spearman", "ci_low", "ci_high"],
    orient="row",
)
STYLES = {"one": Series("One", "#111111"), "two": Series("Two", "#222222")}


def forest():
    ax = one_axes(None, (3, 2))
    draw_forest(ax, Estimates(FRAME, category="size", series="signal", styles=STYLES))
    return ax


def test_a_forest_draws_each_estimate_and_its_interval_once() -> None:
    ax = forest()
    assert [value for value, _ in estimates(ax)] == [-0.5, 0.2, 0.4]
    assert [(low, high) for low, high, _ in whiskers(ax)] == [(-0.7, -0.1), (-0.1, 0.9)]
    assert y_labels(ax) == ["small", "large"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["−1", "−0.5", "0", "0.5", "1"]


def test_an_estimate_at_the_end_of_the_range_is_shown_whole() -> None:
    ax = one_axes(None, (3, 2))
    frame = pl.DataFrame({"g": ["a"], "s": ["one"], "spearman": [-1.0], "ci_low": [-1.0], "ci_high": [-0.9]})
    draw_forest(ax, Estimates(frame, category="g", series="s", styles=STYLES))
    ax.figure.draw_without_rendering()
    left, _ = ax.transData.transform((-1.0, 0))
    assert left - ax.get_window_extent().x0 > 3.2 / 2 / 72 * ax.figure.dpi, "half a marker, 3.2 points wide"


def test_points_lie_in_the_band_of_their_category() -> None:
    heights = [height for _, height in estimates(forest())]
    assert [round(height) for height in heights] == [0, 0, 1]
    assert heights[0] < heights[1], "series stand in order from above"


def test_an_estimate_without_an_interval_is_hollow() -> None:
    assert hollow(forest()) == [0.2]


def test_bars_and_their_whiskers() -> None:
    ax = one_axes(None, (3, 2))
    options = {"value": "spearman", "interval": ("ci_low", "ci_high"), "unit": "rho"}
    draw_bars(ax, Estimates(FRAME, category="size", series="signal", styles=STYLES, **options))
    assert bar_heights(ax) == [-0.5, 0.2, 0.4], "what is undefined has no bar"
    assert bar_whiskers(ax) == [(-0.7, -0.1), (-0.1, 0.9)]
    assert x_labels(ax) == ["small", "large"]
    assert ax.get_ylabel() == "rho"


def test_strengths_turn_intervals_of_negative_correlations() -> None:
    found = strengths(FRAME)
    assert found["spearman"].to_list() == [0.5, 0.2, None, 0.4]
    assert found.row(0)[3:] == (0.1, 0.7)
    assert found.row(3)[3:] == (-0.1, 0.9)
    assert all(low <= value <= high for value, low, high in found.drop_nulls().select(pl.col(pl.Float64)).rows())


@pytest.mark.parametrize("count", [2, 4, 9])
def test_many_series_still_fit_between_the_lines(count: int) -> None:
    names = [f"s{k}" for k in range(count)]
    frame = pl.DataFrame(
        {"g": ["a"] * count + ["b"] * count, "s": names * 2, "spearman": 0.1, "ci_low": 0.0, "ci_high": 0.2}
    )
    ax = one_axes(None, (3, 2))
    draw_forest(ax, Estimates(frame, category="g", series="s", styles=dict.fromkeys(names, Series("", "#333333"))))
    assert all(abs(height - round(height)) < 0.45 for _, height in estimates(ax))
