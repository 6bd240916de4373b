"""Writing all figures into a folder, with the source rows of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from geodiag.common import __version__
from geodiag.errors import SettingsError
from geodiag.figures.captions import Caption, Missing, caption, join, missing_panels
from geodiag.figures.data import NothingToDraw, Tables, paper_tables, store_tables
from geodiag.figures.registry import FIGURES, Figure, select_figures
from geodiag.figures.theme import save
from geodiag.store import StoreReader
from geodiag.tables import Options

PICTURE_FORMATS = ("png", "pdf", "svg")
"""File formats."""


@dataclass(frozen=True)
class Drawn:
    """What became of one figure."""

    figure: str
    """Its name."""
    title: str
    """Its heading."""
    file: str | None
    """Its file's name in the folder; None where it was not drawn."""
    caption: str
    """What it shows, from how many observations and runs."""
    panels: tuple[Caption, ...]
    """The same panel by panel, each with its table and rows."""
    missing: tuple[Missing, ...]
    """Panels that were left out, and why."""
    reason: str | None
    """Why it was not drawn."""


@dataclass(frozen=True)
class Drawing:
    """What became of all figures."""

    out: Path
    """The folder."""
    figures: tuple[Drawn, ...]
    """Every figure asked for."""

    def __iter__(self) -> Iterator[Drawn]:
        return iter(self.figures)

    def lines(self) -> list[str]:
        """One line a file, one for each panel left out of it, and one for each figure that was not drawn."""
        said = []
        for one in self.figures:
            said.append(f"{self.out / one.file}" if one.file else f"{one.figure}: not drawn: {one.reason}")
            said += [f"  without {m.panel}: {m.reason}" for m in one.missing]
        return said


def draw_all(
    store: StoreReader,
    out: str | Path,
    *,
    only: Iterable[str] | None = None,
    runs: Iterable[str] | None = None,
    format: str = "png",
    options: Options | None = None,
) -> Drawing:
    """Draws every figure that a store allows, and `figures.json` beside them.

    Args:
        store: the store, or a view of some of its runs.
        out: the folder to write into; made where it is not there.
        only: names of figures, or their beginnings ("fig05"); all by default.
        runs: the runs that get figures of their own; all by default.
        format: "png", "pdf" or "svg".
        options: how the statistics behind them are made.

    Returns:
        What was drawn, and what was not and why.

    Raises:
        SettingsError: there is no such figure, run or format.
        StoreError: the store holds no run.
    """
    known = store.runs()["run"].to_list()
    chosen = None if runs is None else [runs] if isinstance(runs, str) else list(runs)
    command = f"geodiag figures {store.path} --out {out}" + "".join(f" --runs {run}" for run in chosen or ())
    command += " --runs none" if chosen == [] else ""
    for run in chosen or ():
        if run not in known:
            raise SettingsError(f"there is no run {run!r}", where=store.path, fix=f"one of: {', '.join(known)}")
    tables = store_tables(store, options)
    return _draw(tables, Path(out), only, format, command, runs=known if chosen is None else chosen)


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
    found = Drawing(out, tuple(drawn))
    account = _account(found, tables.origin, command if form == "png" else f"{command} --format {form}")
    (out / "figures.json").write_text(json.dumps(account, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return found


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
        found = figure.draw(tables, **chosen)
    except NothingToDraw as reason:
        return _not_drawn(figure, str(reason))
    axes: list[Axes] = [found] if isinstance(found, Axes) else list(found)
    canvas = axes[0].get_figure(root=True)
    assert isinstance(canvas, Canvas)
    panels = tuple(caption(ax) for ax in axes)
    text = join(panels)
    try:
        save(canvas, path, title=figure.title, caption=text)
    finally:
        plt.close(canvas)
    return Drawn(figure.name, figure.title, path.name, text, panels, missing_panels(axes[0]), None)


def _not_drawn(figure: Figure, reason: str) -> Drawn:
    return Drawn(figure.name, figure.title, None, "", (), (), reason)


def _account(found: Drawing, origin: str, command: str) -> dict[str, Any]:
    """What `figures.json` says."""
    return {
        "source": origin,
        "command": command,
        "geodiag_version": __version__,
        "figures": [_entry(one, command) for one in found if one.file],
        "not_drawn": [_excuse(one) for one in found if not one.file],
    }


def _excuse(one: Drawn) -> dict[str, Any]:
    (figure,) = [figure for figure in FIGURES if figure.name == one.figure]
    wanted = {"tables": list(figure.tables), "needs": figure.needs}
    return {"figure": one.figure, "title": one.title, "reason": one.reason, **wanted}


def _entry(one: Drawn, command: str) -> dict[str, Any]:
    return {
        "file": one.file,
        "figure": one.figure,
        "title": one.title,
        "caption": one.caption,
        "command": f"{command} --only {one.figure}",
        "panels": [{"table": p.table, "rows": p.rows, "n": p.n, "runs": p.runs, "shows": p.text} for p in one.panels],
        "missing_panels": [asdict(m) for m in one.missing],
    }
