"""Style of every figure (fonts, widths), applied within a context, and its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ONE_COLUMN = 3.35
"""Width of a one-column figure in inches (85 mm)."""
ONE_AND_HALF = 4.7
"""Width between the two, which journals have for what is too wide for one column (120 mm)."""
TWO_COLUMNS = 6.9
"""Width of a two-column figure in inches (175 mm)."""

DPI = 300
"""Dots an inch of picture files."""
PALETTE_SIZE = 256
"""Colours of a PNG file."""
LARGE_AREA, MOST_EXACT = 1000, 160
"""Pixels from which a colour is kept as it is, and the most colours so kept."""

TEXT, SMALL_TEXT, TINY = 7.0, 6.0, 5.2
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
        "xtick.labelsize": SMALL_TEXT,
        "ytick.labelsize": SMALL_TEXT,
        "xtick.major.size": 2,
        "ytick.major.size": 2,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.pad": 2,
        "ytick.major.pad": 2,
        "legend.fontsize": SMALL_TEXT,
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
        "savefig.dpi": DPI,
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
    if path.suffix == ".png":
        path.write_bytes(png_bytes(figure, about={"Title": title, "Description": caption}))
        return
    with theme():
        figure.savefig(path, metadata=about[path.suffix])


def png_bytes(figure: Figure, *, dpi: float = DPI, about: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """A figure as a PNG of at most 256 colours, which takes two fifths of true colour's bytes; the same every time.

    Args:
        figure: the figure.
        dpi: dots an inch.
        about: text for the file's metadata, by key.
    """
    drawn, written, notes = BytesIO(), BytesIO(), PngInfo()
    with theme():
        figure.savefig(drawn, format="png", dpi=dpi)
    for key, text in about.items():
        notes.add_itxt(key, text)
    with Image.open(drawn) as image:
        _with_palette(image.convert("RGB")).save(written, "PNG", optimize=True, pnginfo=notes, dpi=image.info["dpi"])
    return written.getvalue()


def _with_palette(image: Image.Image) -> Image.Image:
    """An RGB picture in at most 256 colours.

    Pillow alone either merges neighbouring cells of a heatmap or leaves a colour bar of a few steps. So colours of
    large areas are kept exactly, and Pillow chooses among the rest, each counted once however many pixels it has.
    """
    pixels = np.asarray(image).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    packed, place, counts = np.unique(pixels, return_inverse=True, return_counts=True)
    order, exact = np.argsort(-counts, kind="stable"), min(MOST_EXACT, int((counts >= LARGE_AREA).sum()))
    colors = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1).astype(np.uint8)[order]
    entries, palette = np.arange(len(colors)), colors
    if len(colors) > PALETTE_SIZE:
        rest = Image.fromarray(colors[None, exact:]).quantize(
            PALETTE_SIZE - exact, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
        entries = np.concatenate([np.arange(exact), exact + np.asarray(rest)[0]])
        palette = np.concatenate([colors[:exact], np.array(rest.getpalette(), dtype=np.uint8).reshape(-1, 3)])
    entry_of = np.empty(len(colors), dtype=np.uint8)
    entry_of[order] = entries
    reduced = Image.fromarray(entry_of[place.reshape(pixels.shape)])
    reduced.putpalette(palette[:PALETTE_SIZE].tobytes())
    return reduced
