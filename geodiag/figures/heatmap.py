"""A heatmap of a tidy table. A cell without a value looks empty, and is never drawn as zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from geodiag.figures.captions import axis_number
from geodiag.figures.colors import Scale, takes_dark_ink
from geodiag.figures.theme import HATCH, INK, ONE_COLUMN, SMALL_TEXT, TEXT, TINY, TWO_COLUMNS

LEAST_BAR = 1.2
"""Inches that a colour bar needs for its ticks and label."""
MOST_LETTERS = 15
"""Letters up to which column labels lie flat, where there are few."""
_ROUND = ("1.", "2.", "2.5", "5.")
"""Leading digits of distances between ticks."""
MOST_ANNOTATED = 9
"""Columns up to which numbers fit into the cells of a one-column heatmap."""


@dataclass(frozen=True)
class Cells:
    """A table's values laid out as a matrix."""

    rows: tuple[str, ...]
    """Names along the vertical axis, from the top."""
    columns: tuple[str, ...]
    """Names along the horizontal axis."""
    values: NDArray[np.float64]
    """Shape (rows, columns); NaN where there is no value."""
    asked: NDArray[np.bool_]
    """Whether the table has a row for the cell, with or without a value."""

    @property
    def undefined(self) -> NDArray[np.bool_]:
        """Cells that the table names but has no value for."""
        return self.asked & np.isnan(self.values)


def cells(
    frame: pl.DataFrame, *, rows: str, columns: str, value: str, row_order: Sequence[str], column_order: Sequence[str]
) -> Cells:
    """Lays a tidy table out as a matrix.

    Args:
        frame: one row a cell.
        rows: the column that names the matrix' row.
        columns: the column that names its column.
        value: the column with the value.
        row_order: names from the top; rows of other names are left out.
        column_order: names from the left.
    """
    values = np.full((len(row_order), len(column_order)), np.nan)
    asked = np.zeros(values.shape, dtype=bool)
    for row, column, number in frame.select(rows, columns, value).iter_rows():
        if row in row_order and column in column_order:
            at = row_order.index(row), column_order.index(column)
            asked[at] = True
            values[at] = np.nan if number is None else number
    return Cells(tuple(row_order), tuple(column_order), values, asked)


def draw_cells(
    ax: Axes,
    matrix: Cells,
    scale: Scale,
    *,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    digits: int | None = 2,
    texts: NDArray[np.object_] | None = None,
    below: NDArray[np.object_] | None = None,
    bar: bool = True,
    turn: bool | None = None,
) -> QuadMesh:
    """Draws a matrix as coloured cells.

    A cell that the table names but has no value for is hatched; one that it does not name stays blank.

    Args:
        ax: where to.
        matrix: the values.
        scale: colours, range and label of the colour bar.
        row_labels: labels for the rows' names.
        column_labels: labels for the columns' names.
        digits: decimals of the numbers in the cells; None writes none.
        texts: text in the cells instead of the value, shape (rows, columns).
        below: smaller text below it; "" for none.
        bar: whether the axes have a colour bar.
        turn: whether column labels stand upright; by default where there are more than fit lying.
    """
    mesh = ax.pcolormesh(
        np.ma.masked_invalid(matrix.values),
        cmap=scale.cmap,
        vmin=scale.low,
        vmax=scale.high,
        edgecolors="white",
        linewidth=0.4,
    )
    for row, column in np.argwhere(matrix.undefined):
        ax.add_patch(Rectangle((column, row), 1, 1, facecolor="white", edgecolor=HATCH, hatch="/////", linewidth=0.0))
    _frame(ax, row_labels or matrix.rows, column_labels or matrix.columns, turn=turn)
    if digits is not None:
        _annotate(ax, matrix, mesh, digits, texts, below)
    if bar:
        colour_bar(ax, mesh, scale)
    return mesh


def colour_bar(
    ax: Axes | Sequence[Axes], mesh: QuadMesh, scale: Scale, *, ticks: Mapping[float, str] | None = None
) -> None:
    """A colour bar with the scale's label and ticks at both ends of its range.

    Args:
        ax: the axes that it belongs to.
        mesh: the cells it explains.
        scale: their scale.
        ticks: values and their labels; both ends, the middle and between by default.
    """
    owners = [ax] if isinstance(ax, Axes) else list(ax)
    bar = owners[0].figure.colorbar(mesh, ax=owners, fraction=0.05, pad=0.02, aspect=25)
    named = ticks or {tick: f"{tick:.3g}".replace("-", "−") for tick in even_ticks(scale.low, scale.high)}
    bar.set_ticks(list(named), labels=list(named.values()))
    bar.ax.tick_params(labelsize=SMALL_TEXT, length=2, width=0.5)
    # Names of the two ends leave room between them, where the label can stand.
    bar.set_label(scale.label, fontsize=TEXT, labelpad=2 if ticks is None else -12)
    bar.outline.set_visible(False)


def even_ticks(low: float, high: float) -> list[float]:
    """Three to eight values from one end to the other, both among them, as far apart as one short decimal says.

    A range around 0 has a tick there. Where no such distance divides the range, five ticks stand in its quarters.
    """
    span = high - low
    for parts in (4, 5, 3, 6, 7, 2) if low >= 0 or high <= 0 else (4, 6, 2):
        digits = f"{span / parts:.9e}".split("e")[0].rstrip("0")
        if digits in _ROUND:
            return [round(low + k * span / parts, 12) for k in range(parts + 1)]
    return [low + k * span / 4 for k in range(5)]


def heatmap_size(
    rows: int, columns: int, *, labels: int = 12, cell: float = 0.2, width: float | None = None
) -> tuple[float, float]:
    """Width and height of a figure in which every label of a heatmap can be read.

    Args:
        rows: rows of cells.
        columns: columns of cells.
        labels: characters of the longest label.
        cell: height of a cell in inches, at most; at least the height of its label.
        width: width in inches; by default one column where the cells fit, else two.
    """
    margin = 0.75 + 0.05 * labels
    least = TINY / 72 * 1.25
    if width is None:
        width = ONE_COLUMN if columns * 0.13 + margin <= ONE_COLUMN else TWO_COLUMNS
    square = (width - margin) / max(columns, 1)
    return width, max(max(min(square, cell), least) * rows, LEAST_BAR) + 0.35 + 0.05 * labels


def _frame(ax: Axes, rows: Sequence[str], columns: Sequence[str], *, turn: bool | None) -> None:
    ax.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    size = SMALL_TEXT if max(len(rows), len(columns)) <= 24 else TINY
    if turn is None:
        longest = max((len(line) for name in columns for line in name.split("\n")), default=0)
        turn = len(columns) > MOST_ANNOTATED or longest > MOST_LETTERS
    ax.set_xticks(np.arange(len(columns)) + 0.5, labels=columns, fontsize=size, rotation=90 if turn else 0)
    ax.set_yticks(np.arange(len(rows)) + 0.5, labels=rows, fontsize=size)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _annotate(
    ax: Axes,
    matrix: Cells,
    mesh: QuadMesh,
    digits: int,
    texts: NDArray[np.object_] | None,
    below: NDArray[np.object_] | None,
) -> None:
    for row, column in np.argwhere(~np.isnan(matrix.values)):
        value = matrix.values[row, column]
        text = axis_number(value, digits) if texts is None else str(texts[row, column])
        more = "" if below is None else str(below[row, column])
        place = {"x": column + 0.5, "y": row + 0.5, "ha": "center", "color": _ink(mesh, value)}
        ax.text(s=text, va="bottom" if more else "center", fontsize=SMALL_TEXT, **place)
        if more:
            ax.text(s=more, va="top", fontsize=TINY, **place)


def _ink(mesh: QuadMesh, value: float) -> str:
    shade = np.asarray(mesh.to_rgba(np.array([value])))[0, :3]
    return INK if takes_dark_ink(shade) else "white"
