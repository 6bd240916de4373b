"""Heatmaps as HTML tables: every cell says its value, on hover, under the keyboard and to a screen reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from geodiag.report.color import LOSS_GAIN, Rgb, cell_style


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


def as_html(heat: Heatmap) -> str:
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
    number = "–" if value is None else written(value * heat.scale, heat.digits)
    told = escape(f"{row}, {column}: {heat.absent if value is None else number + heat.unit}", quote=True)
    style = cell_style(value, low=heat.low, high=heat.high, colors=heat.colors)
    kind = "none" if value is None else "mark" if at in heat.marks else ""
    return (
        f"<td{_attribute('class', kind)}{_attribute('style', style)}{_target(heat.steps.get(at))} title='{told}'>"
        f"{number}</td>"
    )


def written(value: float, digits: int) -> str:
    """A number with so many decimals; no sign on a zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _attribute(name: str, value: str) -> str:
    return f" {name}='{value}'" if value else ""


def _target(step: tuple[str, int] | None) -> str:
    return "" if step is None else f" data-run='{escape(step[0], quote=True)}' data-step='{step[1]}'"
