"""Theme, colours and labels."""

from __future__ import annotations

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from geodiag import figures
from geodiag.figures.captions import axis_label, axis_number, order_families
from geodiag.figures.colors import METHOD_COLORS, SIGNAL_COLORS, method_styles, ordered_colors, signal_color
from geodiag.figures.theme import STYLE, theme
from geodiag.signals import PAIR_SIGNALS, SIGNALS, TARGETS
from geodiag.signals.catalog import label

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
DEFICIENCIES = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "none": np.eye(3).tolist(),
}
TOGETHER = {
    "conflict": ["active_conflict", "state_conflict", "state_gap", "global_gap"],
    "headline": ["update_norm", "active_conflict", "state_gap", "global_gap", "step"],
    "dynamics": ["retention_loss", "active_conflict", "state_gap", "global_gap"],
    "gradients": ["mean_grad_cos", "neg_grad_ratio"],
    "norms": ["update_norm", "state_norm"],
}


def test_the_style_holds_inside_and_is_gone_outside() -> None:
    before = mpl.rcParams.copy()
    with theme():
        assert all(mpl.rcParams[key] == value or mpl.rcParams[key] == [value] for key, value in STYLE.items())
    assert mpl.rcParams == before


def test_the_style_is_gone_after_an_error() -> None:
    before = mpl.rcParams.copy()
    with pytest.raises(figures.NothingToDraw):
        figures.fig11_step_dynamics({})
    assert mpl.rcParams == before


def test_a_users_own_style_does_not_change_a_figure(tables) -> None:
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "text.usetex": True}):
        ax = figures.pair_conflict_heatmap(tables("plain"))
    assert ax.get_facecolor() == (1, 1, 1, 1)
    assert ax.yaxis.label.get_fontsize() == STYLE["axes.labelsize"]


def test_a_figure_drawn_in_another_style_keeps_its_own(tables) -> None:
    """Ticks are made when a figure is drawn, which is after the theme was left."""
    ax = figures.step_dynamics(tables("plain"), run="4b-ewc")[0]
    with mpl.rc_context({"xtick.labelsize": 30, "ytick.labelsize": 30, "ytick.color": "yellow", "font.size": 30}):
        ax.figure.draw_without_rendering()
        labels = [*ax.get_yticklabels(), *ax.get_xticklabels()]
    assert {text.get_fontsize() for text in labels} == {STYLE["ytick.labelsize"]}
    assert {text.get_color() for text in labels} == {STYLE["text.color"]}


def test_every_signal_and_outcome_has_a_colour_and_a_label() -> None:
    for signal in (*SIGNALS, *PAIR_SIGNALS, *TARGETS):
        assert signal.name in SIGNAL_COLORS
        assert label(signal.name) == signal.label


def test_a_signal_has_the_same_colour_in_every_figure(tables) -> None:
    seen: dict[str, set[str]] = {}
    names = {signal.label: signal.name for signal in (*TARGETS, *SIGNALS)}
    for name in ("fig01_state_dynamics", "fig11_step_dynamics", "step_dynamics"):
        chosen = {"run": "4b-ewc"} if name == "step_dynamics" else {}
        for ax in getattr(figures, name)(tables("plain"), **chosen):
            for line in ax.lines:
                seen.setdefault(line.get_label(), set()).add(line.get_color())
    for text, colors in seen.items():
        if text in names:
            assert colors == {signal_color(names[text])}
    assert seen["Global gap"] == {"#0050A0"}


@pytest.mark.parametrize("sight", sorted(DEFICIENCIES))
@pytest.mark.parametrize("group", sorted(TOGETHER))
def test_colours_drawn_together_can_be_told_apart(group: str, sight: str) -> None:
    """At least 10 apart in CIELAB for normal and for colour-blind sight; markers differ besides."""
    for one, other in combinations(TOGETHER[group], 2):
        assert distance(signal_color(one), signal_color(other), sight) > 10, (one, other)


@pytest.mark.parametrize("sight", sorted(DEFICIENCIES))
def test_methods_can_be_told_apart(sight: str) -> None:
    for one, other in combinations(METHOD_COLORS.values(), 2):
        assert distance(one, other, sight) > 10


def distance(one: str, other: str, sight: str) -> float:
    return float(np.linalg.norm(lab(one, sight) - lab(other, sight)))


def lab(color: str, sight: str) -> np.ndarray:
    """A colour as seen, in CIELAB (D65)."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(DEFICIENCIES[sight]) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    f = np.cbrt(xyz / (0.95047, 1.0, 1.08883))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_methods_keep_their_looks_whatever_else_is_there() -> None:
    few, many = method_styles(["EWC", "mine"]), method_styles(["Seq. SFT", "EWC", "mine", "yours", *"abcdef"])
    assert few["EWC"] == many["EWC"]
    assert len(set(many.values())) == 10, "colour and marker together tell methods apart"


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_sizes_run_from_dark_to_light(count: int) -> None:
    lightness = [lab(color, "none")[0] for color in ordered_colors(count)]
    assert len(lightness) == count
    assert lightness == sorted(lightness)
    assert max(lightness) < 85, "visible on white"


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.5, "−0.50"), (-0.001, "0.00"), (0.0, "0.00"), (None, ""), (float("nan"), ""), (1.005, "1.00")],
)
def test_numbers(value: float | None, text: str) -> None:
    assert axis_number(value) == text


def test_labels_carry_units() -> None:
    assert axis_label("retention_loss") == "Retention loss (score, fraction)"
    assert axis_label("global_gap") == "Global gap (−1 to 1)"
    assert axis_label("update_norm") == "Update norm (Frobenius norm)"
    assert axis_label("something_else") == "something else"


def test_families_stand_in_the_order_of_a_block() -> None:
    assert order_families(["up_proj", "router", "k_proj", "k_proj"]) == ["k_proj", "up_proj", "router"]
