"""Style of every figure (fonts, widths, a palette for PNG files), applied within a context."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy.spatial import cKDTree

PALETTE_SIZE = 256
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
    palette = colors if len(colors) <= PALETTE_SIZE else _choose(colors[order], exact=large)
    nearest = np.asarray(cKDTree(palette).query(colors)[1]).astype(np.uint8)
    reduced = Image.fromarray(nearest[place.reshape(packed.shape)])
    reduced.putpalette(palette.tobytes())
    return reduced


def _choose(colors: np.ndarray, *, exact: int) -> np.ndarray:
    """A palette with the first of these colours and others spread over the rest."""
    spread = PALETTE_SIZE - exact
    rare = Image.fromarray(colors[None, exact:])
    chosen = rare.quantize(spread, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    rest = np.array(chosen.getpalette(), dtype=np.uint8).reshape(-1, 3)[:spread]
    return np.concatenate([colors[:exact], rest])


P = ParamSpec("P")
R = TypeVar("R")

ONE_COLUMN = 3.35
"""Width of a one-column figure in inches (85 mm)."""
ONE_AND_HALF = 4.7
"""Width between the two, which journals have for what is too wide for one column (120 mm)."""
TWO_COLUMNS = 6.9
"""Width of a two-column figure in inches (175 mm)."""

TEXT, SMALL, TINY = 7.0, 6.0, 5.2
"""Points of titles and axis labels, of tick labels, and of the smallest text that may stand in a figure."""

INK, FAINT, HATCH = "#222222", "#d9d9d9", "#b5b5b5"
"""Text and axes; grid lines; the hatching of cells without a value."""

STYLE: Mapping[str, Any] = MappingProxyType(
    {
        "font.family": "DejaVu Sans",
        "font.size": TEXT,
        "axes.titlesize": TEXT,
        "axes.titleweight": "bold",
        "axes.titlepad": 4,
        "axes.labelsize": TEXT,
        "axes.labelpad": 2,
        "axes.linewidth": 0.6,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": False,
        "grid.color": FAINT,
        "grid.linewidth": 0.5,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "xtick.major.size": 2,
        "ytick.major.size": 2,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.pad": 2,
        "ytick.major.pad": 2,
        "legend.fontsize": SMALL,
        "legend.frameon": False,
        "legend.handlelength": 1.6,
        "legend.borderaxespad": 0.2,
        "legend.columnspacing": 1.0,
        "lines.linewidth": 1.1,
        "lines.markersize": 2.6,
        "hatch.linewidth": 0.5,
        "figure.facecolor": "white",
        "figure.titlesize": TEXT + 1,
        "figure.titleweight": "bold",
        "figure.constrained_layout.h_pad": 0.03,
        "figure.constrained_layout.w_pad": 0.03,
        "savefig.dpi": 300,
        # Type 42 embeds whole TrueType fonts, so that text in a PDF can be searched and edited.
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        # Ids in an SVG come from this salt instead of chance, so that drawing again gives the same file.
        "svg.hashsalt": "geodiag",
    }
)
"""The rcParams of every figure, on top of Matplotlib's own defaults."""


@contextmanager
def theme() -> Iterator[None]:
    """Draws in the style of this package; on leaving, rcParams are what they were."""
    # A notebook's backend turns interactive mode on when it is first used. Inside the context that would be undone,
    # and no later figure would be shown.
    plt.draw_if_interactive()  # type: ignore[no-untyped-call]
    with mpl.style.context(["default", dict(STYLE)]):
        yield


def themed(draw: Callable[P, R]) -> Callable[P, R]:
    """Runs a drawing function inside `theme`."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with theme():
            return draw(*args, **kwargs)

    return inside


def save(figure: Figure, path: Path, *, title: str, caption: str) -> None:
    """Writes a figure with its title and caption in the file's metadata, the same bytes every time.

    Args:
        figure: what to write.
        path: where to; its suffix (.png, .pdf or .svg) names the format.
        title: the figure's title.
        caption: what it shows, and from how many observations.
    """
    about = {
        ".pdf": {"Title": title, "Subject": caption, "CreationDate": None},
        ".svg": {"Title": title, "Description": caption, "Date": None},
    }
    with theme():
        if path.suffix == ".png":
            _save_png(figure, path, {"Title": title, "Description": caption})
        else:
            figure.savefig(path, metadata=about[path.suffix])


def _save_png(figure: Figure, path: Path, about: Mapping[str, str]) -> None:
    """A PNG with a palette, which is a third as large."""
    drawn, noted = BytesIO(), PngInfo()
    figure.savefig(drawn, format="png")
    for key, text in about.items():
        noted.add_itxt(key, text)
    with Image.open(drawn) as image:
        with_palette(image).save(path, "PNG", optimize=True, pnginfo=noted, dpi=image.info["dpi"])
