"""Colours of cells, as CSS."""

from __future__ import annotations

from collections.abc import Sequence

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
