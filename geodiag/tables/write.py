"""Tables as files: a CSV each, one page to read, and LaTeX."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from geodiag.store import StoreReader
from geodiag.tables.beside import beside, is_published
from geodiag.tables.compute import Computed, compute_all
from geodiag.tables.latex import as_latex
from geodiag.tables.markdown import as_markdown
from geodiag.tables.options import Options
from geodiag.tables.page import make_page
from geodiag.tables.registry import TABLES

DIGITS = 8
"""Significant digits of a number in a CSV."""


def write_tables(
    store: StoreReader,
    out: str | Path,
    options: Options | None = None,
    *,
    compare_paper: bool = False,
    only: Iterable[str] | None = None,
) -> list[Path]:
    """Write every table that the store allows.

    Args:
        store: the store, or a view of some of its runs.
        out: the folder to write into; made when it is not there. Files of the same names are replaced.
        options: draws, seed and the independent unit.
        compare_paper: also put published numbers beside ours: on the page, and as `<name>_beside_paper.csv`.
        only: names of tables, or their beginnings up to an underscore; default: all.

    Returns:
        The files written: the page `tables.md`, `tables.tex`, and one CSV a table.

    Raises:
        SettingsError: there is no table of that name.
        StoreError: the store holds no run.
    """
    found = compute_all(store, options, only)
    page = make_page(found, compare_paper=compare_paper)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"tables.md": as_markdown(page), "tables.tex": as_latex(page)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    frames = found.frames | (_beside_paper(found) if compare_paper else {})
    for name, frame in frames.items():
        frame.with_columns(pl.col(pl.Float64).round_sig_figs(DIGITS)).write_csv(folder / f"{name}.csv")
    return [folder / name for name in (*texts, *(f"{name}.csv" for name in frames))]


def _beside_paper(found: Computed) -> dict[str, pl.DataFrame]:
    known = {table.name: table for table in TABLES if is_published(table)}
    return {f"{name}_beside_paper": beside(known[name], frame) for name, frame in found.frames.items() if name in known}
