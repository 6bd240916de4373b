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
        # One round of k-means gives the colours of large areas exactly; median cuts alone are off by a few levels.
        reduced = image.convert("RGB").quantize(PALETTE_SIZE, kmeans=1, dither=Image.Dither.NONE)
        reduced.save(written, "PNG", optimize=True, pnginfo=notes, dpi=image.info["dpi"])
    return written.getvalue()
