"""Heatmap of the difference of two checkpoints, by block and family."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geodiag.errors import SettingsError
from geodiag.figures.axes import finish, one_axes
from geodiag.figures.colors import Scale, round_up
from geodiag.figures.heatmap import cells, draw_cells, heatmap_size
from geodiag.figures.labels import family_label, order_families
from geodiag.figures.theme import ONE_COLUMN, save, themed

DIFF_FORMATS = (".png", ".pdf", ".svg")


@themed
def change_heatmap(frame: pl.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The relative norm of the change, ||D||_F / ||W||_F, by block and family.

    Args:
        frame: one row a (block, family), with a column `relative_norm`; null is drawn as not defined.
        ax: axes to draw in.
    """
    families, blocks = order_families(frame["family"]), sorted(frame["block"].unique().to_list())
    tidy = frame.with_columns(pl.col("block").cast(pl.Utf8))
    order = [str(block) for block in blocks]
    matrix = cells(tidy, rows="block", columns="family", value="relative_norm", row_order=order, column_order=families)
    largest = float(frame["relative_norm"].max() or 0)  # type: ignore[arg-type]
    scale = Scale("viridis", 0.0, round_up(largest) if largest > 0 else 1.0, "Relative norm ‖ΔW‖ / ‖W‖")
    ax = one_axes(ax, heatmap_size(len(blocks), len(families), cell=0.16, labels=10, width=ONE_COLUMN))
    names = [family_label(family) for family in families]
    draw_cells(ax, matrix, scale, column_labels=names, digits=None)
    return finish(ax, x="Projection family", y="Block")


def check_picture(path: Path) -> None:
    """Refuse a file that no picture can be written into, before there is one.

    Raises:
        SettingsError: its ending is of no known format, or its folder is not there.
    """
    if path.suffix not in DIFF_FORMATS:
        what = f"the ending {path.suffix!r} is that of no picture"
        raise SettingsError(what, where=path, fix=f"one of {', '.join(DIFF_FORMATS)}")
    if not path.parent.is_dir():
        raise SettingsError("its folder is not there", where=path, fix=f"make {path.parent} first")


def save_change_heatmap(frame: pl.DataFrame, path: Path, *, title: str) -> None:
    """Draws `change_heatmap` into a file.

    Args:
        frame: its table.
        path: a .png, .pdf or .svg file.
        title: what the file's metadata say that it shows.

    Raises:
        SettingsError: the ending is of none of these, or the file cannot be written.
    """
    check_picture(path)
    figure = change_heatmap(frame).figure
    assert isinstance(figure, Figure)
    try:
        save(figure, path, title=title, caption="Relative norm of the change of each block and projection family")
    except OSError as error:
        raise SettingsError(f"cannot be written ({error.strerror})", where=path) from error
    finally:
        plt.close(figure)
