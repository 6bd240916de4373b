"""Colours, markers and colour scales: a signal, outcome or method has the same ones in every figure.

Hues are from Okabe and Ito's and Paul Tol's palettes for colour-blind readers. Geometry is blue to green, norms
are orange to brown, gradients purple, outcomes red, baselines grey. Lines also differ in marker, so that no
figure is read by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from types import MappingProxyType

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import ArrayLike

SIGNAL_COLORS: Mapping[str, str] = MappingProxyType(
    {
        "update_norm": "#E69F00",
        "update_norm_sum": "#F0C05A",
        "state_norm": "#8C510A",
        "state_norm_sum": "#BF8A50",
        "active_sar": "#77AADD",
        "mean_sar": "#77AADD",
        "max_sar": "#A9C8E8",
        "state_sar": "#44AA99",
        "active_conflict": "#56B4E9",
        "mean_conflict": "#56B4E9",
        "max_conflict": "#9AD2F2",
        "state_conflict": "#117733",
        "global_active_conflict": "#6F7FC4",
        "global_state_conflict": "#332288",
        "state_gap": "#009E73",
        "global_gap": "#0050A0",
        "mean_grad_cos": "#E3A6C8",
        "min_grad_cos": "#CC79A7",
        "neg_grad_ratio": "#882255",
        "step": "#5F5F5F",
        "age": "#5F5F5F",
        "forgetting": "#D55E00",
        "retention_loss": "#D55E00",
        "worst_drop": "#A63603",
        "drop": "#A63603",
        "old_mean": "#4D4D4D",
        "old_min": "#999999",
        "current": "#B2182B",
        "overall": "#1A1A1A",
    }
)
"""Colour by signal or outcome. Columns that are one quantity at two levels share theirs."""

SIGNAL_MARKERS: Mapping[str, str] = MappingProxyType(
    {
        "update_norm": "s",
        "state_norm": "D",
        "active_conflict": "o",
        "state_conflict": "P",
        "state_gap": "^",
        "global_gap": "v",
        "active_sar": "<",
        "state_sar": ">",
        "mean_grad_cos": "h",
        "min_grad_cos": "p",
        "neg_grad_ratio": "d",
        "retention_loss": "X",
        "forgetting": "X",
        "overall": "*",
        "current": "o",
        "old_mean": "s",
        "worst_drop": "v",
    }
)
"""Marker by signal or outcome; a circle for the rest."""

METHOD_COLORS: Mapping[str, str] = MappingProxyType(
    {"Seq. SFT": "#CC3311", "EWC": "#0077BB", "FOREVER": "#EE9900", "AIMMerging": "#009988", "GCWM": "#AA3377"}
)
"""Colours of the methods that the paper compares."""

_OTHER_METHODS = ("#33BBEE", "#EE3377", "#6F6F6F", "#999933", "#332288", "#117733", "#661100", "#88CCEE")
_METHOD_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
EMPHASIS = "#D55E00"
"""Harm: scores that fell."""
BENEFIT = "#0072B2"
"""Gain: scores that rose."""
UNCHANGED = "#5F5F5F"
"""Scores that stayed."""
NEUTRAL = "#D0D0D0"
"""All points, drawn below those meant."""


def signal_color(name: str) -> str:
    """The colour of a signal or outcome; grey for a name that has none."""
    return SIGNAL_COLORS.get(name, "#7F7F7F")


def signal_marker(name: str) -> str:
    """The marker of a signal or outcome."""
    return SIGNAL_MARKERS.get(name, "o")


def method_styles(methods: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of every method: the paper's have their own, others take further ones in order."""
    others = [method for method in methods if method not in METHOD_COLORS]
    colors = {m: _OTHER_METHODS[k % len(_OTHER_METHODS)] for k, m in enumerate(others)} | dict(METHOD_COLORS)
    order = [*METHOD_COLORS, *others]
    return {m: (colors[m], _METHOD_MARKERS[order.index(m) % len(_METHOD_MARKERS)]) for m in methods}


def takes_dark_ink(shade: Iterable[float]) -> bool:
    """Whether black has more contrast than white on a colour, by the relative luminance of WCAG 2.

    (L + 0.05) / 0.05 > 1.05 / (L + 0.05)

    Args:
        shade: red, green and blue, each 0..1.
    """
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shade)
    luminance = sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return (luminance + 0.05) ** 2 > 0.05 * 1.05


def ordered_colors(count: int) -> list[str]:
    """Colours of an ordered scale such as model size, dark to light; all are visible on white."""
    return [to_hex(mpl.colormaps["viridis"](x)) for x in np.linspace(0.05, 0.85, max(count, 2))][:count]


@dataclass(frozen=True)
class Scale:
    """A colour map with the range it spans and what it measures."""

    cmap: str
    """The Matplotlib colour map."""
    low: float
    """The value at its lower end."""
    high: float
    """The value at its upper end."""
    label: str
    """What is measured, with its unit, for the colour bar."""


def share_scale(values: ArrayLike, label: str, *, from_zero: bool = False) -> Scale:
    """A scale for values in 0..1, from the tenth below the smallest, or from 0, to the tenth above the largest."""
    array = np.asarray(values, dtype=np.float64)
    # Rounding first: 0.3 * 10 lies a hair below 3 or above, and must not take a tenth more.
    low = 0.0 if from_zero else floor(round(float(np.nanmin(array)) * 10, 9)) / 10
    high = ceil(round(float(np.nanmax(array)) * 10, 9)) / 10
    return Scale("viridis", low, high if high > low else low + 0.1, label)


def correlation_scale(label: str = "Spearman ρ") -> Scale:
    """A scale for correlations: -1 blue, 0 white, 1 red."""
    return Scale("RdBu_r", -1.0, 1.0, label)


def strength_scale(label: str = "|Spearman ρ|") -> Scale:
    """A scale for the strength of correlations whatever their sign, 0..1."""
    return Scale("Purples", 0.0, 1.0, label)


def centred_scale(values: ArrayLike, label: str, *, cmap: str = "RdBu") -> Scale:
    """A scale around 0 that reaches equally far both ways, to the largest size rounded up to one digit."""
    sizes = np.abs(np.asarray(values, dtype=np.float64))
    largest = float(np.nanmax(sizes, initial=0.0))
    limit = round_up(largest) if largest > 0 else 1.0
    return Scale(cmap, -limit, limit, label)


def span_scale(values: ArrayLike, label: str) -> Scale:
    """A scale from below the smallest to above the largest value, both ends whole multiples of a round distance."""
    array = np.asarray(values, dtype=np.float64)
    low, high = float(np.nanmin(array)), float(np.nanmax(array))
    high = high if high > low else low + (abs(low) or 1.0)
    unit = 10.0 ** floor(log10((high - low) / 4))
    step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= (high - low) / 6)
    # Rounding first, as above: a value on a multiple must not take a whole distance more.
    return Scale("viridis", floor(round(low / step, 9)) * step, ceil(round(high / step, 9)) * step, label)


def round_up(value: float) -> float:
    """The next larger number with one significant digit: 0.129 gives 0.2."""
    unit = 10.0 ** floor(log10(value))
    # Dividing by a power of ten may land a hair above a whole number, which must not count as more.
    return float(np.ceil(round(value / unit, 9)) * unit)
