"""A number's course over the run's steps, drawn small."""

from __future__ import annotations

from html import escape

from geodiag.explain.results import Line
from geodiag.explain.words import figure

WIDTH, HEIGHT, MARGIN = 96, 26, 4
"""In pixels."""


def sparkline(line: Line) -> str:
    """An inline SVG with a dot a step, this step's large; empty where fewer than two steps have the number."""
    known = [(k, value) for k, value in enumerate(line.course) if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(value for _, value in known), max(value for _, value in known)
    points = [(_x(k, len(line.course)), _y(value, low, high)) for k, value in known]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(_dot(x, y, large=k == line.at) for (k, _), (x, y) in zip(known, points, strict=True))
    said = escape(f"{line.label} over the run's steps, from {figure(low)} to {figure(high)}", quote=True)
    return (
        f"<svg class='gd-course' width='{WIDTH}' height='{HEIGHT}' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' "
        f"aria-label='{said}'><polyline points='{path}'/>{dots}</svg>"
    )


def _x(step: int, count: int) -> float:
    return MARGIN + (WIDTH - 2 * MARGIN) * step / max(count - 1, 1)


def _y(value: float, low: float, high: float) -> float:
    share = 0.5 if high == low else (value - low) / (high - low)
    return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share


def _dot(x: float, y: float, *, large: bool) -> str:
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{3.2 if large else 1.4}'{' class=gd-here' if large else ''}/>"
