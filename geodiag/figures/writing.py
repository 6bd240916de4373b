"""Writing figures: all of a store or of the paper into a folder, each with its source rows; and one of a comparison."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import polars as pl
import polars.selectors as cs
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from geodiag.common import __version__
from geodiag.errors import SettingsError
from geodiag.figures.captions import Caption, Missing, caption, drawn_rows, join, missing_panels
from geodiag.figures.data import NothingToDraw, Tables, paper_tables, store_tables
from geodiag.figures.layer_heatmaps import change_heatmap
from geodiag.figures.registry import FIGURES, Figure, select_figures
from geodiag.figures.theme import save
from geodiag.store import StoreReader
from geodiag.tables import Options

PICTURE_FORMATS = ("png", "pdf", "svg")
"""File formats."""
DIGITS = 9
"""Significant digits of source rows; the last of sixteen depends on the order of sums."""


@dataclass(frozen=True)
class Drawn:
    """One figure: its file and caption, or the reason why it was not drawn."""

    figure: str
    """Its name."""
    title: str
    """Its heading."""
    file: str | None
    """Its file's name in the folder; None where it was not drawn."""
    source: str | None
    """The name of the CSV file with the rows drawn, a column `panel` first; None where it was not drawn."""
    caption: str
    """What it shows, from how many observations and runs."""
    panels: tuple[Caption, ...]
    """The captions of its panels, each with its table and rows."""
    missing: tuple[Missing, ...]
    """Panels that were left out, and the reasons."""
    reason: str | None
    """The reason why it was not drawn."""


@dataclass(frozen=True)
class Drawing:
    """All figures of one call."""

    out: Path
    """The folder."""
    figures: tuple[Drawn, ...]
    """Every figure asked for."""

    def __iter__(self) -> Iterator[Drawn]:
        return iter(self.figures)

    def lines(self) -> list[str]:
        """One line a file, one for each panel left out of it, and one for each figure that was not drawn."""
        lines = []
        for one in self.figures:
            lines.append(f"{self.out / one.file}" if one.file else f"{one.figure}: not drawn: {one.reason}")
            lines += [f"  without {m.panel}: {m.reason}" for m in one.missing]
        return lines


def draw_all(
    store: StoreReader,
    out: str | Path,
    *,
    only: Iterable[str] | None = None,
    runs: Iterable[str] | None = None,
    format: str = "png",
    options: Options | None = None,
) -> Drawing:
    """Draws every figure that a store allows, with the rows drawn as CSV, and lists them in `figures.json`.

    Args:
        store: the store, or a view of some of its runs.
        out: the folder to write into; made where it is not there.
        only: names of figures, or their beginnings ("fig05"); all by default.
        runs: the runs that get figures of their own; all by default.
        format: "png", "pdf" or "svg".
        options: how the statistics behind them are made.

    Returns:
        Every figure with its file, or with the reason why it was not drawn.

    Raises:
        SettingsError: there is no such figure, run or format.
        StoreError: the store holds no run.
    """
    present = store.runs()["run"].to_list()
    chosen = None if runs is None else [runs] if isinstance(runs, str) else list(runs)
    command = f"geodiag figures {store.path} --out {out}" + "".join(f" --runs {run}" for run in chosen or ())
    command += " --runs none" if chosen == [] else ""
    for run in chosen or ():
        if run not in present:
            raise SettingsError(f"there is no run {run!r}", where=store.path, fix=f"one of: {', '.join(present)}")
    tables = store_tables(store, options)
    return _draw(tables, Path(out), only, format, command, runs=present if chosen is None else chosen)


def draw_paper(out: str | Path, *, only: Iterable[str] | None = None, format: str = "png") -> Drawing:
    """Draws every figure, or panel of one, whose numbers the paper published; as `draw_all` otherwise."""
    return _draw(paper_tables(), Path(out), only, format, f"geodiag figures --paper --out {out}", runs=None)


def _draw(
    tables: Tables, out: Path, only: Iterable[str] | None, form: str, command: str, *, runs: Sequence[str] | None
) -> Drawing:
    if form not in PICTURE_FORMATS:
        raise SettingsError(f"no figure format {form!r}", fix=f"one of: {', '.join(PICTURE_FORMATS)}")
    chosen = select_figures(only)
    out.mkdir(parents=True, exist_ok=True)
    drawn = [one for figure in chosen for one in _draw_figure(figure, tables, out, form, runs)]
    drawing = Drawing(out, tuple(drawn))
    account = _account(drawing, tables.origin, command if form == "png" else f"{command} --format {form}")
    (out / "figures.json").write_text(json.dumps(account, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return drawing


def _draw_figure(figure: Figure, tables: Tables, out: Path, form: str, runs: Sequence[str] | None) -> list[Drawn]:
    if not figure.per_run:
        return [_draw_one(figure, tables, out / f"{figure.name}.{form}", {})]
    if runs is None:
        return [_not_drawn(figure, "the steps of single runs were never published; draw it from a store")]
    if not runs:
        return [_not_drawn(figure, "no run was asked for")]
    return [_draw_one(figure, tables, out / f"{figure.name}-{run}.{form}", {"run": run}) for run in runs]


def _draw_one(figure: Figure, tables: Tables, path: Path, chosen: dict[str, str]) -> Drawn:
    try:
        result = figure.draw(tables, **chosen)
    except NothingToDraw as reason:
        return _not_drawn(figure, str(reason))
    axes: list[Axes] = [result] if isinstance(result, Axes) else list(result)
    canvas = axes[0].get_figure(root=True)
    assert isinstance(canvas, Canvas)
    panels = tuple(caption(ax) for ax in axes)
    text = join(panels)
    try:
        save(canvas, path, title=figure.title, caption=text)
    finally:
        plt.close(canvas)
    source = path.with_suffix(".csv")
    source_rows(axes).write_csv(source)
    return Drawn(figure.name, figure.title, path.name, source.name, text, panels, missing_panels(axes[0]), None)


def source_rows(axes: Sequence[Axes]) -> pl.DataFrame:
    """The rows drawn in a figure's axes, one after the other, with the number of the axes, from 1, in `panel`."""
    parts = [drawn_rows(ax).select(pl.lit(k).alias("panel"), pl.all()) for k, ax in enumerate(axes, start=1)]
    return pl.concat(parts, how="diagonal_relaxed").with_columns(cs.float().round_sig_figs(DIGITS))


def _not_drawn(figure: Figure, reason: str) -> Drawn:
    return Drawn(figure.name, figure.title, None, None, "", (), (), reason)


def _account(drawing: Drawing, origin: str, command: str) -> dict[str, Any]:
    """The content of `figures.json`."""
    return {
        "source": origin,
        "command": command,
        "geodiag_version": __version__,
        "figures": [_entry(one, command) for one in drawing if one.file],
        "not_drawn": [_reason(one) for one in drawing if not one.file],
    }


def _reason(one: Drawn) -> dict[str, Any]:
    (figure,) = [figure for figure in FIGURES if figure.name == one.figure]
    needs = {"tables": list(figure.tables), "needs": figure.needs}
    return {"figure": one.figure, "title": one.title, "reason": one.reason, **needs}


def _entry(one: Drawn, command: str) -> dict[str, Any]:
    return {
        "file": one.file,
        "source": one.source,
        "figure": one.figure,
        "title": one.title,
        "caption": one.caption,
        "command": f"{command} --only {one.figure}",
        "panels": [{"table": p.table, "rows": p.rows, "n": p.n, "runs": p.runs, "shows": p.text} for p in one.panels],
        "missing_panels": [asdict(m) for m in one.missing],
    }


def check_picture(path: Path) -> None:
    """Refuse a file that no picture can be written into.

    Raises:
        SettingsError: its ending is of no known format, or its folder is not there.
    """
    endings = [f".{form}" for form in PICTURE_FORMATS]
    if path.suffix not in endings:
        problem = f"the ending {path.suffix!r} is that of no picture"
        raise SettingsError(problem, where=path, fix=f"one of {', '.join(endings)}")
    if not path.parent.is_dir():
        raise SettingsError("its folder is not there", where=path, fix=f"make {path.parent} first")


def save_change_heatmap(frame: pl.DataFrame, path: Path, *, title: str) -> None:
    """Draws `change_heatmap` into a file.

    Args:
        frame: its table.
        path: a .png, .pdf or .svg file.
        title: the title in the file's metadata.

    Raises:
        SettingsError: the ending is of none of these, or the file cannot be written.
    """
    check_picture(path)
    canvas = change_heatmap(frame).get_figure(root=True)
    assert isinstance(canvas, Canvas)
    try:
        save(canvas, path, title=title, caption="Relative norm of the change of each block and projection family")
    except OSError as error:
        raise SettingsError(f"cannot be written ({error.strerror})", where=path) from error
    finally:
        plt.close(canvas)
