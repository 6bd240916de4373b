"""Tables as CSV, Markdown and LaTeX files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from geodiag.store import StoreReader
from geodiag.tables.catalog import ANALYSIS_TABLES, Computed, compute_all
from geodiag.tables.format import DASH, Grid, as_grid
from geodiag.tables.options import Options
from geodiag.tables.page import Page, PageSection, is_published, make_page, with_published

_INTRO = {
    "ours": (
        "What we stand behind",
        "Intervals here leave out one run after the other (jackknife on Fisher's scale with t quantiles); p-values "
        "exchange whole runs, so that what all runs share, a trend over steps above all, cannot make a finding. "
        "Simulated with 20 runs, both keep what they promise.",
    ),
    "paper": (
        "The paper's tables, its way",
        "**The intervals and p-values below are the paper's**, to be held against its published numbers: percentile "
        "intervals from resampling runs, a little too short at 20 runs, and p-values from shuffling rows freely, which "
        "takes the steps of one run for independent. Shuffled so, a signal that shares nothing with forgetting but a "
        "trend over steps is found significant nine times in ten. Do not cite them without those above.",
    ),
    "figure": (
        "Numbers behind the paper's figures",
        "Estimates alone, but for `intervals`, which has the paper's intervals of them all.",
    ),
}


def as_markdown(page: Page) -> str:
    """The page as Markdown."""
    parts = ["# What explains forgetting, and what does not", *_top(page)]
    for part, (title, text) in _INTRO.items():
        sections = [section for section in page.sections if section.table.part == part]
        if sections:
            parts += [f"## {title}", text, *(block for section in sections for block in _section(section))]
    if page.missing:
        parts += ["## Not computed", _missing(page)]
    return "\n\n".join(parts) + "\n"


def table_lines(grid: Grid) -> list[str]:
    """A table as aligned lines."""
    cells = [tuple(_escape(text) for text in row) for row in (grid.headings, *grid.rows)]
    widths = [max(3, *(len(row[m]) for row in cells)) for m in range(len(grid.headings))]

    def line(row: Iterable[str]) -> str:
        padded = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, grid.right, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = ("-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, grid.right, strict=True))
    return [line(cells[0]), line(rule), *(line(row) for row in cells[1:])]


def _top(page: Page) -> list[str]:
    return [*page.summary, _bullets(page.notes)]


def _section(section: PageSection) -> list[str]:
    table = section.table
    text = [f"*Asks:* {table.question}"]
    text += [f"*Shows:* {section.shows}"] if section.shows else []
    text += [f"*Distrust:* {table.distrust}", f"*File:* `{table.name}.csv`"]
    blocks = [f"### {table.title}", "  \n".join(text)]
    for panel in section.panels:
        blocks += [panel.caption] if panel.caption else []
        blocks += [_bullets(f"**{term}**: {meaning}" for term, meaning in panel.legend)] if panel.legend else []
        blocks += [_rows(panel.frame)] if panel.frame.width else []
    return blocks


def _rows(frame: pl.DataFrame) -> str:
    return "\n".join(table_lines(as_grid(frame))) if frame.height else "No rows."


def _missing(page: Page) -> str:
    return _bullets(f"{table.title}: {reason}." for table, reason in page.missing)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_SPECIAL |= {c: "\\" + c for c in "&%$#_{}"}
_SYMBOLS = {"ρ": r"$\rho$", "<": r"$<$", ">": r"$>$", "|": r"$|$", "θ": r"$\theta$", "×": r"$\times$", DASH: "--"}
_MINUS = re.compile(r"(?<![\w.)])-(?=[\d.])")
_MARKS = re.compile(r"\*\*|[*`]")


def as_latex(page: Page) -> str:
    """Every table as a float, to be taken from or read with \\input."""
    tables = [text for section in page.sections for text in _tables(section)]
    return "\n".join(["% needs \\usepackage{booktabs}; p and interval are the paper's where so headed", *tables])


def escape(text: str) -> str:
    """Text as LaTeX: special characters, minus signs and the symbols that tables use."""
    marked = "".join(_SPECIAL.get(c, c) for c in _MARKS.sub("", text))
    signed = _MINUS.sub("$-$", marked)
    return "".join(_SYMBOLS.get(c, c) for c in signed)


def _tables(section: PageSection) -> list[str]:
    table, several = section.table, len(section.panels) > 1
    floats = []
    for place, panel in enumerate((panel for panel in section.panels if panel.frame.width), start=1):
        name = f"{table.name}_{place}" if several else table.name
        caption = f"{table.title}. {panel.caption or table.question}"
        floats.append(_float(as_grid(panel.frame), label=name, caption=caption))
    return floats


def _float(grid: Grid, *, label: str, caption: str) -> str:
    columns = "".join("r" if right else "l" for right in grid.right)
    lines = [r"\begin{table}[t]", r"\centering\small", rf"\caption{{{escape(caption)}}}", rf"\label{{tab:{label}}}"]
    lines += [rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}", r"\toprule", _row(grid.headings), r"\midrule"]
    lines += [_row(row) for row in grid.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _row(cells: tuple[str, ...]) -> str:
    # A bracket right after \\ would be read as its optional argument.
    return " & ".join("{}" + escape(cell) if cell.startswith("[") else escape(cell) for cell in cells) + r" \\"


CSV_DIGITS = 8
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
    computed = compute_all(store, options, only)
    page = make_page(computed, compare_paper=compare_paper)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"tables.md": as_markdown(page), "tables.tex": as_latex(page)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    frames = computed.frames | (_with_published(computed) if compare_paper else {})
    for name, frame in frames.items():
        frame.with_columns(pl.col(pl.Float64).round_sig_figs(CSV_DIGITS)).write_csv(folder / f"{name}.csv")
    return [folder / name for name in (*texts, *(f"{name}.csv" for name in frames))]


def _with_published(computed: Computed) -> dict[str, pl.DataFrame]:
    published = [t for t in ANALYSIS_TABLES if t.name in computed.frames and is_published(t)]
    return {f"{t.name}_beside_paper": with_published(t, computed.frames[t.name]) for t in published}
