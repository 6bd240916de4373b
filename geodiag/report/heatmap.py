"""Heatmaps as HTML tables with accessible cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

Rgb = tuple[int, int, int]

LOSS_GAIN: tuple[Rgb, ...] = ((178, 24, 43), (239, 138, 98), (247, 247, 247), (103, 169, 207), (33, 102, 172))
"""From red over white to blue: lost, unchanged, gained; also negative and positive correlations."""
AMOUNT: tuple[Rgb, ...] = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""From dark to light, little to much."""


def cell_style(value: float | None, *, low: float, high: float, colors: Sequence[Rgb]) -> str:
    """Background and text colour of a value; empty where there is none.

    Args:
        value: the value.
        low: what has the first colour; values under it have it too.
        high: what has the last one.
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
    """Black or white, whichever has more contrast on a colour (relative luminance as in WCAG 2)."""
    r, g, b = (_linear(channel / 255) for channel in shade)
    luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b
    return "#000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#fff"


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


@dataclass(frozen=True)
class Heatmap:
    """A matrix of values."""

    title: str
    """What it shows."""
    note: str
    """How to read it."""
    rows: Sequence[str]
    """Names of the rows."""
    columns: Sequence[str]
    """Names of the columns."""
    values: Mapping[tuple[int, int], float | None]
    """Values by (row, column); what is not there stays blank."""
    low: float
    """What has the first colour."""
    high: float
    """What has the last one."""
    colors: Sequence[Rgb] = LOSS_GAIN
    """The colours between."""
    digits: int = 2
    """Decimals of a value."""
    scale: float = 1.0
    """What a value is multiplied by before it is written."""
    unit: str = ""
    """What follows a value where it is told in full."""
    corner: str = ""
    """What the rows are."""
    absent: str = "not known"
    """What is said of a cell whose value is None."""
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
    told = escape(f"{row}, {column}: {heat.absent if value is None else number + heat.unit}", quote=True)
    style = cell_style(value, low=heat.low, high=heat.high, colors=heat.colors)
    kind = "none" if value is None else "mark" if at in heat.marks else ""
    return (
        f"<td{_attribute('class', kind)}{_attribute('style', style)}{_target(heat.steps.get(at))} title='{told}'>"
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
