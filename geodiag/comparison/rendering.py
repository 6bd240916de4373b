"""A comparison as text, JSON and HTML."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape

from geodiag.common.schema import FAMILIES
from geodiag.common.text import counted
from geodiag.comparison.changes import COMPARED_DIRECTIONS, FamilyChange, LayerChange, ModelChange


@dataclass(frozen=True)
class ComparisonColumn:
    """One column of a table of changes."""

    heading: str
    text: Callable[[FamilyChange | LayerChange], str]
    """The cell of a row."""


def three_digits(value: float | None) -> str:
    """Three digits; `-` where there is no value."""
    return "-" if value is None else f"{value:.3g}"


def percent_text(value: float | None) -> str:
    """`12.3%`; `<0.1%` for tiny shares, `-` where there is no value."""
    if value is None:
        return "-"
    return "<0.1%" if 0 < value < 0.0005 else f"{100 * value:.1f}%"


COMPARISON_COLUMNS: tuple[ComparisonColumn, ...] = (
    ComparisonColumn("norm", lambda row: three_digits(row.norm)),
    ComparisonColumn("relative", lambda row: three_digits(row.relative_norm)),
    ComparisonColumn("changed", lambda row: percent_text(row.changed_share)),
    ComparisonColumn("rounding", lambda row: three_digits(row.rounding_floor)),
    ComparisonColumn("stable rank", lambda row: three_digits(row.stable_rank)),
    ComparisonColumn(f"energy in {COMPARED_DIRECTIONS}", lambda row: percent_text(row.energy)),
)
"""Columns of both tables, by family and by layer."""


def family_cells(comparison: ModelChange) -> list[tuple[str, ...]]:
    """The table by family, headings first."""
    head = ("family", "layers", "share", *(column.heading for column in COMPARISON_COLUMNS))
    rows = [
        (row.family, str(row.layers), percent_text(row.share), *(column.text(row) for column in COMPARISON_COLUMNS))
        for row in comparison.families
    ]
    return [head, *rows]


def layer_cells(layers: Sequence[LayerChange]) -> list[tuple[str, ...]]:
    """The table of layers, headings first."""
    head = ("layer", *(column.heading for column in COMPARISON_COLUMNS))
    return [head, *((row.layer, *(column.text(row) for column in COMPARISON_COLUMNS)) for row in layers)]


def summary(comparison: ModelChange) -> list[str]:
    """Sentences on how much changed, what was left out, and the warnings."""
    families = comparison.families
    unchanged, rounding = (sum(getattr(f, name) for f in families) for name in ("unchanged", "rounding"))
    sentences = [
        f"{counted(len(comparison.layers), 'layer')}: norm {three_digits(comparison.norm)}, "
        f"{three_digits(comparison.relative_norm)} of the weights' own"
    ]
    if unchanged:
        sentences.append(f"{counted(unchanged, 'layer')} did not change")
    if rounding:
        sentences.append(f"{counted(rounding, 'layer')} changed by no more than rounding may give; do not read them")
    if comparison.left_out:
        counts = ", ".join(f"{count} {reason}" for reason, count in comparison.left_out.items())
        sentences.append(f"left out {counted(sum(comparison.left_out.values()), 'tensor')}: {counts}")
    return sentences + [f"warning: {warning}" for warning in comparison.warnings]


def comparison_text(comparison: ModelChange, *, top: int) -> str:
    """A table by family and one of the `top` layers with the largest relative norm."""
    lines = [f"{comparison.a} -> {comparison.b} ({comparison.kind})", *summary(comparison)]
    lines += ["", *_aligned(family_cells(comparison))]
    most = comparison.most_moved(top)
    if most:
        lines += ["", "moved most, relative to their size:", *_aligned(layer_cells(most))]
    return "\n".join(lines)


def comparison_json(comparison: ModelChange, *, indent: int | None) -> str:
    """Every number of a comparison as JSON; undefined numbers are null."""
    numbers = asdict(comparison) | {
        "norm": comparison.norm,
        "relative_norm": comparison.relative_norm,
        "directions": COMPARED_DIRECTIONS,
        "families": [asdict(family) for family in comparison.families],
    }
    return json.dumps(numbers, indent=indent, allow_nan=False)


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Columns of one width, names to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]


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


def comparison_html(comparison: ModelChange) -> str:
    """The comparison as one HTML element, which inherits text and background colours."""
    sentences = "".join(f"<p>{escape(line)}</p>" for line in summary(comparison))
    title = f"<p><b>{escape(comparison.a)}</b> → <b>{escape(comparison.b)}</b> ({escape(comparison.kind)})</p>"
    most = comparison.most_moved()
    moved = f"<p>Moved most, relative to their size:</p>{_table(layer_cells(most))}" if most else ""
    parts = (title, sentences, _table(family_cells(comparison)), _map(comparison), moved)
    return f"<style>{_STYLE}</style><article class='geodiag-diff'>{''.join(parts)}</article>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f"<div class='gd-wide'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _map(comparison: ModelChange) -> str:
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
    label = f"Relative norm by family and block, from 0 to {three_digits(largest)}"
    table = f"<thead><tr><th>block</th>{head}</tr></thead><tbody>{rows}</tbody>"
    return f"<p>{label}:</p><div class='gd-wide'><table class='gd-map' aria-label='{label}'>{table}</table></div>"


def _cell(values: dict[tuple[int, str], float | None], block: int, family: str, largest: float) -> str:
    if (block, family) not in values:
        return "<td></td>"
    value = values[block, family]
    title = f"title='{family}, block {block}: {three_digits(value)}'"
    if value is None:
        return f"<td class='gd-none' {title}></td>"
    return f"<td {title} style='background: rgb(0 114 178 / {value / largest if largest else 0:.0%})'></td>"
