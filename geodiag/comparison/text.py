"""A comparison as text, as JSON, and its numbers as words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from geodiag.comparison.results import DIRECTIONS, Comparison, FamilyChange, LayerChange
from geodiag.wording import counted


@dataclass(frozen=True)
class Column:
    """One column of a table of changes."""

    heading: str
    of: Callable[[FamilyChange | LayerChange], str]
    """The cell of a row."""


def figure(value: float | None) -> str:
    """Three digits; `-` where there is no value."""
    return "-" if value is None else f"{value:.3g}"


def percent(value: float | None) -> str:
    """`12.3%`; tiny shares are not called none."""
    if value is None:
        return "-"
    return "<0.1%" if 0 < value < 0.0005 else f"{100 * value:.1f}%"


MEASURES: tuple[Column, ...] = (
    Column("norm", lambda row: figure(row.norm)),
    Column("relative", lambda row: figure(row.relative_norm)),
    Column("changed", lambda row: percent(row.changed_share)),
    Column("rounding", lambda row: figure(row.rounding_floor)),
    Column("stable rank", lambda row: figure(row.stable_rank)),
    Column(f"energy in {DIRECTIONS}", lambda row: percent(row.energy)),
)
"""What is told of a family and of a layer alike."""


def family_cells(comparison: Comparison) -> list[tuple[str, ...]]:
    """The table by family, headings first."""
    head = ("family", "layers", "share", *(column.heading for column in MEASURES))
    rows = [
        (row.family, str(row.layers), percent(row.share), *(column.of(row) for column in MEASURES))
        for row in comparison.families
    ]
    return [head, *rows]


def layer_cells(layers: Sequence[LayerChange]) -> list[tuple[str, ...]]:
    """The table of layers, headings first."""
    head = ("layer", *(column.heading for column in MEASURES))
    return [head, *((row.layer, *(column.of(row) for column in MEASURES)) for row in layers)]


def summary(comparison: Comparison) -> list[str]:
    """What was compared, and what a reader has to know of it, one sentence each."""
    families = comparison.families
    unchanged, rounding = (sum(getattr(f, name) for f in families) for name in ("unchanged", "rounding"))
    told = [
        f"{counted(len(comparison.layers), 'layer')}: norm {figure(comparison.norm)}, "
        f"{figure(comparison.relative_norm)} of the weights' own"
    ]
    if unchanged:
        told.append(f"{counted(unchanged, 'layer')} did not change")
    if rounding:
        told.append(f"{counted(rounding, 'layer')} changed by no more than rounding may give; do not read them")
    if comparison.left_out:
        counts = ", ".join(f"{count} {why}" for why, count in comparison.left_out.items())
        told.append(f"left out {counted(sum(comparison.left_out.values()), 'tensor')}: {counts}")
    return told + [f"warning: {warning}" for warning in comparison.warnings]


def as_text(comparison: Comparison, *, top: int) -> str:
    """A table by family and the layers that moved most."""
    lines = [f"{comparison.a} -> {comparison.b} ({comparison.kind})", *summary(comparison)]
    lines += ["", *_aligned(family_cells(comparison))]
    most = comparison.most_moved(top)
    if most:
        lines += ["", "moved most, relative to their size:", *_aligned(layer_cells(most))]
    return "\n".join(lines)


def as_json(comparison: Comparison, *, indent: int | None) -> str:
    """Every number of a comparison."""
    found = asdict(comparison) | {
        "norm": comparison.norm,
        "relative_norm": comparison.relative_norm,
        "directions": DIRECTIONS,
        "families": [asdict(family) for family in comparison.families],
    }
    return json.dumps(found, indent=indent, allow_nan=False)


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Columns of one width, names to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
