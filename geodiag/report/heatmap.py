"""Heatmaps as HTML tables with accessible cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from geodiag.figures.colors import takes_dark_ink

Rgb = tuple[int, int, int]

LOSS_GAIN: tuple[Rgb, ...] = ((178, 24, 43), (239, 138, 98), (247, 247, 247), (103, 169, 207), (33, 102, 172))
"""From red over white to blue: lost, unchanged, gained; also negative and positive correlations."""
AMOUNT: tuple[Rgb, ...] = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""From dark to light, little to much."""


def cell_style(value: float | None, *, low: float, high: float, colors: Sequence[Rgb]) -> str:
    """Background and text colour of a value; empty where there is none.

    Args:
        value: the value.
        low: the value of the first colour; values under it have it too.
        high: the value of the last colour.
        colors: equally spaced colours.
    """
    if value is None:
        return ""
    share = 0.5 if high <= low else min(max((value - low) / (high - low), 0.0), 1.0)
    shade = mix(share, colors)
    return f"background:rgb{shade};color:{ink(shade)}".replace(" ", "")


def mix(share: float, colors: Sequence[Rgb]) -> Rgb:
    """The colour at a share of the way, straight between neighbours."""
    place = share * (len(colors) - 1)
    left = min(int(place), len(colors) - 2)
    part = place - left
    r, g, b = (round(a + part * (c - a)) for a, c in zip(colors[left], colors[left + 1], strict=True))
    return r, g, b


def ink(shade: Rgb) -> str:
    """Black or white, whichever has more contrast on a colour."""
    return "#000" if takes_dark_ink(channel / 255 for channel in shade) else "#fff"


@dataclass(frozen=True)
class Heatmap:
    """A matrix of values."""

    title: str
    """Its heading."""
    note: str
    """How to read it."""
    rows: Sequence[str]
    """Names of the rows."""
    columns: Sequence[str]
    """Names of the columns."""
    values: Mapping[tuple[int, int], float | None]
    """Values by (row, column); others are blank."""
    low: float
    """The value of the first colour."""
    high: float
    """The value of the last colour."""
    colors: Sequence[Rgb] = LOSS_GAIN
    """Equally spaced colours from `low` to `high`."""
    digits: int = 2
    """Decimals of a value."""
    scale: float = 1.0
    """Factor of a value as written."""
    unit: str = ""
    """Unit of a value in the cell's full text."""
    corner: str = ""
    """Names of the rows and columns, for the corner cell."""
    absent: str = "not known"
    """Text of a cell whose value is None."""
    steps: Mapping[tuple[int, int], tuple[str, int]] = field(default_factory=dict)
    """The (run, step) that a cell leads to."""
    marks: frozenset[tuple[int, int]] = frozenset()
    """Cells with a frame."""


def heatmap_html(heat: Heatmap) -> str:
    """The heatmap with its caption, and a line that repeats the cell under the pointer or the keyboard."""
    head = "".join(f"<th scope='col'><span>{escape(name)}</span></th>" for name in heat.columns)
    body = "".join(_row(heat, at, name) for at, name in enumerate(heat.rows))
    table = (
        f"<table class='heat'><thead><tr><th scope='col'>{escape(heat.corner)}</th>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )
    return (
        f"<figure class='heatmap'><figcaption><b>{escape(heat.title)}</b> {escape(heat.note)}</figcaption>"
        f"<div class='wide'>{table}</div><p class='readout' aria-live='polite'></p></figure>"
    )


def _row(heat: Heatmap, at: int, name: str) -> str:
    cells = "".join(_cell(heat, (at, column)) for column in range(len(heat.columns)))
    return f"<tr><th scope='row'>{escape(name)}</th>{cells}</tr>"


def _cell(heat: Heatmap, at: tuple[int, int]) -> str:
    if at not in heat.values:
        return "<td class='none'></td>"
    value = heat.values[at]
    row, column = heat.rows[at[0]], heat.columns[at[1]]
    number = "–" if value is None else cell_text(value * heat.scale, heat.digits)
    text = escape(f"{row}, {column}: {heat.absent if value is None else number + heat.unit}", quote=True)
    style = cell_style(value, low=heat.low, high=heat.high, colors=heat.colors)
    kind = "none" if value is None else "mark" if at in heat.marks else ""
    return (
        f"<td{_attribute('class', kind)}{_attribute('style', style)}{_target(heat.steps.get(at))} title='{text}'>"
        f"{number}</td>"
    )


def cell_text(value: float, digits: int) -> str:
    """A number with so many decimals; no sign on a zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _attribute(name: str, value: str) -> str:
    return f" {name}='{value}'" if value else ""


def _target(step: tuple[str, int] | None) -> str:
    return "" if step is None else f" data-run='{escape(step[0], quote=True)}' data-step='{step[1]}'"
