"""Reading numbers back from what was drawn."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.patches import Rectangle
from matplotlib.text import Text


def x_labels(ax: Axes) -> list[str]:
    return [tick.get_text().replace("\n", " ") for tick in ax.get_xticklabels()]


def y_labels(ax: Axes) -> list[str]:
    return [tick.get_text().replace("\n", " ") for tick in ax.get_yticklabels()]


def mesh(ax: Axes) -> QuadMesh:
    (found,) = [c for c in ax.collections if isinstance(c, QuadMesh)]
    return found


def cell_values(ax: Axes) -> np.ndarray:
    """A heatmap's values, shape (rows, columns), NaN where a cell is empty."""
    shape = len(ax.get_yticks()), len(ax.get_xticks())
    return np.ma.filled(mesh(ax).get_array().astype(float), np.nan).reshape(shape)


def cell_texts(ax: Axes) -> dict[tuple[int, int], str]:
    """What stands in the cells, by row and column, from the top where it is several lines."""
    found: dict[tuple[int, int], str] = {}
    for text in ax.texts:
        at = int(text.get_position()[1]), int(text.get_position()[0])
        found[at] = f"{found[at]}\n{text.get_text()}" if at in found else text.get_text()
    return found


def hatched(ax: Axes) -> set[tuple[int, int]]:
    """Cells that are hatched, by row and column."""
    return {(int(p.get_y()), int(p.get_x())) for p in ax.patches if isinstance(p, Rectangle) and p.get_hatch()}


def estimates(ax: Axes) -> list[tuple[float, float]]:
    """A forest's points: (value, height), from the top."""
    found = [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in ax.lines if _is_point(line)]
    return sorted(found, key=lambda point: point[1])


def whiskers(ax: Axes) -> list[tuple[float, float, float]]:
    """A forest's whiskers: (low, high, height), from the top."""
    lines = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_solid_capstyle() == "butt"]
    found = [(float(x.get_xdata()[0]), float(x.get_xdata()[1]), float(x.get_ydata()[0])) for x in lines]
    return sorted(found, key=lambda whisker: whisker[2])


def hollow(ax: Axes) -> list[float]:
    """Values of a forest's points that are drawn hollow."""
    points = [line for line in ax.lines if _is_point(line)]
    return [float(line.get_xdata()[0]) for line in points if line.get_markerfacecolor() == "white"]


def bar_heights(ax: Axes) -> list[float]:
    """Heights of upright bars from the left."""
    bars = [p for p in ax.patches if isinstance(p, Rectangle) and not p.get_hatch()]
    return [float(bar.get_height()) for bar in sorted(bars, key=lambda bar: bar.get_x())]


def bar_whiskers(ax: Axes) -> list[tuple[float, float]]:
    """Whiskers of upright bars from the left: (low, high)."""
    lines = [line for line in ax.lines if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2]
    ordered = sorted(lines, key=lambda line: line.get_xdata()[0])
    return [(float(line.get_ydata()[0]), float(line.get_ydata()[1])) for line in ordered]


def curves(ax: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Curves by label: steps and values."""
    named = [line for line in ax.lines if not line.get_label().startswith("_") and len(line.get_xdata())]
    return {line.get_label(): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in named}


def clouds(ax: Axes) -> dict[str, np.ndarray]:
    """Points by label, shape (n, 2)."""
    return {c.get_label(): np.asarray(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection)}


def texts(ax: Axes) -> list[Text]:
    """Every text of the axes' figure that is shown."""
    return [t for t in ax.figure.findobj(Text) if t.get_visible() and t.get_text().strip()]


def _is_point(line: object) -> bool:
    return line.get_linestyle() == "None" and len(line.get_xdata()) == 1  # type: ignore[attr-defined]
