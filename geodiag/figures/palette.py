"""Pictures with a palette: a third of the bytes of true colour, and nothing that can be seen is lost."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

COLORS = 256
"""Colours of a palette."""
LARGE, MOST = 1000, 160
"""Pixels from which a colour is kept as it is, so that cells and bars have theirs exactly; and how many are at most."""


def with_palette(image: Image.Image) -> Image.Image:
    """The picture in at most 256 colours.

    The colours of large areas stay as they are. The rest, edges of letters and steps of colour bars, take the nearest
    of colours that are spread over them, the rare as much as the frequent.

    Args:
        image: a picture in any mode; transparency is dropped.

    Returns:
        The same in mode "P".
    """
    pixels = np.asarray(image.convert("RGB"))
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    found, place, count = np.unique(packed, return_inverse=True, return_counts=True)
    colors = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1).astype(np.uint8)
    order, large = np.argsort(-count, kind="stable"), min(MOST, int((count >= LARGE).sum()))
    palette = colors if len(colors) <= COLORS else _choose(colors[order], exact=large)
    nearest = np.asarray(cKDTree(palette).query(colors)[1]).astype(np.uint8)
    reduced = Image.fromarray(nearest[place.reshape(packed.shape)])
    reduced.putpalette(palette.tobytes())
    return reduced


def _choose(colors: np.ndarray, *, exact: int) -> np.ndarray:
    """A palette with the first of these colours and others spread over the rest."""
    spread = COLORS - exact
    rare = Image.fromarray(colors[None, exact:])
    chosen = rare.quantize(spread, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    rest = np.array(chosen.getpalette(), dtype=np.uint8).reshape(-1, 3)[:spread]
    return np.concatenate([colors[:exact], rest])
