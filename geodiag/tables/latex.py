"""Tables as LaTeX, with booktabs."""

from __future__ import annotations

import re

from geodiag.tables.format import DASH, Grid, as_grid
from geodiag.tables.page import Page, Section

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


def _tables(section: Section) -> list[str]:
    table, several = section.table, len(section.panels) > 1
    found = []
    for place, panel in enumerate((panel for panel in section.panels if panel.frame.width), start=1):
        name = f"{table.name}_{place}" if several else table.name
        caption = f"{table.title}. {panel.caption or table.question}"
        found.append(_float(as_grid(panel.frame), label=name, caption=caption))
    return found


def _float(grid: Grid, *, label: str, caption: str) -> str:
    columns = "".join("r" if right else "l" for right in grid.right)
    lines = [r"\begin{table}[t]", r"\centering\small", rf"\caption{{{escape(caption)}}}", rf"\label{{tab:{label}}}"]
    lines += [rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}", r"\toprule", _row(grid.headings), r"\midrule"]
    lines += [_row(row) for row in grid.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _row(cells: tuple[str, ...]) -> str:
    # A bracket right after \\ would be read as its optional argument.
    return " & ".join("{}" + escape(cell) if cell.startswith("[") else escape(cell) for cell in cells) + r" \\"
