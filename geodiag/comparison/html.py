"""A comparison as HTML for a notebook: both tables, and a map of blocks and families in one colour."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from geodiag.comparison.results import Comparison
from geodiag.comparison.text import family_cells, figure, layer_cells, summary
from geodiag.families import FAMILIES

_STYLE = """
.geodiag-diff { line-height: 1.4; }
.geodiag-diff p { margin: 0.2em 0; overflow-wrap: anywhere; }
.geodiag-diff .gd-wide { overflow-x: auto; margin: 0.6em 0; }
.geodiag-diff table { border-collapse: collapse; font-size: 0.9em; background: none; color: inherit; }
.geodiag-diff th, .geodiag-diff td { padding: 0.1em 0.5em; text-align: right; white-space: nowrap; background: none; color: inherit; border: 0; font-weight: 400; font-variant-numeric: tabular-nums; }
.geodiag-diff tr > :first-child { text-align: left; }
.geodiag-diff thead th { font-weight: 600; border-bottom: 1px solid currentcolor; }
.geodiag-diff .gd-map td { padding: 0; min-width: 1.1em; height: 1.2em; border: 1px solid rgb(128 128 128 / 25%); }
.geodiag-diff .gd-map th { padding: 0 0.3em; font-size: 0.85em; }
.geodiag-diff .gd-none { background: repeating-linear-gradient(45deg, transparent 0 3px, rgb(128 128 128 / 40%) 3px 4px); }
"""  # noqa: E501  (a rule a line)


def as_html(comparison: Comparison) -> str:
    """The comparison as one element, which takes text and background from where it is shown."""
    said = "".join(f"<p>{escape(line)}</p>" for line in summary(comparison))
    title = f"<p><b>{escape(comparison.a)}</b> → <b>{escape(comparison.b)}</b> ({escape(comparison.kind)})</p>"
    most = comparison.most_moved()
    moved = f"<p>Moved most, relative to their size:</p>{_table(layer_cells(most))}" if most else ""
    parts = (title, said, _table(family_cells(comparison)), _map(comparison), moved)
    return f"<style>{_STYLE}</style><article class='geodiag-diff'>{''.join(parts)}</article>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f"<div class='gd-wide'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _map(comparison: Comparison) -> str:
    """Relative norm by family and block, darker where it is larger; the number stands in each cell's title."""
    values = {(block, family): value for block, family, value in comparison.grid().iter_rows()}
    blocks = sorted({block for block, _ in values})
    largest = max((value for value in values.values() if value), default=0.0)
    head = "".join(f"<th scope='col'>{block}</th>" for block in blocks)
    rows = "".join(
        f"<tr><th scope='row'>{family}</th>"
        + "".join(_cell(values, block, family, largest) for block in blocks)
        + "</tr>"
        for family in FAMILIES
        if any((block, family) in values for block in blocks)
    )
    label = f"Relative norm by family and block, from 0 to {figure(largest)}"
    table = f"<thead><tr><th>block</th>{head}</tr></thead><tbody>{rows}</tbody>"
    return f"<p>{label}:</p><div class='gd-wide'><table class='gd-map' aria-label='{label}'>{table}</table></div>"


def _cell(values: dict[tuple[int, str], float | None], block: int, family: str, largest: float) -> str:
    if (block, family) not in values:
        return "<td></td>"
    value = values[block, family]
    told = f"title='{family}, block {block}: {figure(value)}'"
    if value is None:
        return f"<td class='gd-none' {told}></td>"
    return f"<td {told} style='background: rgb(0 114 178 / {value / largest if largest else 0:.0%})'></td>"
