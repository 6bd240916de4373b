"""Numbers, headings and cells of tables as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import polars as pl

from geodiag.signals.catalog import label

DASH = "–"
"""The text of an undefined number."""
PUBLISHED = "_published"
"""The suffix of a column of published numbers."""

SPANS: tuple[tuple[str, str, str], ...] = (
    ("ci_low", "ci_high", "paper's interval"),
    ("geometry_ci_low", "geometry_ci_high", "paper's interval"),
    ("gradient_ci_low", "gradient_ci_high", "paper's interval"),
    ("low", "high", "interval"),
    ("percentile_low", "percentile_high", "percentile interval"),
    ("percentile_low_paper", "percentile_high_paper", "paper's interval"),
    ("slope_low", "slope_high", "interval"),
    ("gain_low", "gain_high", "interval of gain"),
)
"""Pairs of columns shown as one interval, and its heading."""

COLUMN_HEADINGS: Mapping[str, str] = MappingProxyType(
    {
        "spearman": "ρ",
        "rho": "ρ",
        "pearson": "Pearson r",
        "p_perm": "paper's p",
        "p_free_paper": "paper's p",
        "p_whole_run": "whole-run p",
        "p_bh": "p, BH",
        "p_holm": "p, Holm",
        "slope_p": "p",
        "slope_p_bh": "p, BH",
        "geometry_predictor": "geometry",
        "geometry_spearman": "ρ",
        "gradient_predictor": "gradient",
        "gradient_spearman": "ρ",
        "delta_abs": "difference of |ρ|",
        "rho_signal": "ρ of signal",
        "rho_other": "ρ of other",
        "spearman_gain": "gain in ρ for unseen runs",
    }
)
"""Headings of statistics. A signal or outcome has its label, a column of text its name."""

_THREE = frozenset(
    ("drop", "forgetting", "overall", "old_mean", "current", "sar", "geometry_conflict", "grad_cos", "spearman_gain")
)
_P_VALUES = frozenset(("p_perm", "p_free_paper", "p_whole_run", "p_bh", "p_holm", "slope_p", "slope_p_bh", "mixed_p"))
_NAMES = frozenset(
    ("signal", "other", "target", "predictor", "geometry_predictor", "gradient_predictor", "relation", "ranking")
)


@dataclass(frozen=True)
class Grid:
    """A table as text."""

    headings: tuple[str, ...]
    """One a column."""
    rows: tuple[tuple[str, ...], ...]
    """Cells, row by row."""
    right: tuple[bool, ...]
    """Whether a column is right-aligned, as numbers are."""


def as_grid(frame: pl.DataFrame) -> Grid:
    """A frame as text: numbers rounded, intervals in one column, dashes for undefined numbers."""
    columns = [column for name in frame.columns if (column := _column(frame, name)) is not None]
    cells = [cells for _, cells, _ in columns]
    return Grid(
        tuple(heading for heading, _, _ in columns),
        tuple(zip(*cells, strict=True)),
        tuple(right for _, _, right in columns),
    )


def number_text(value: float | None, digits: int = 2) -> str:
    """A number with so many digits; no sign on a zero."""
    if value is None:
        return DASH
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def p_value(value: float | None) -> str:
    """A p-value with three digits, or "<0.001"."""
    return DASH if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def interval_text(low: float | None, high: float | None) -> str:
    """Both ends in brackets."""
    return DASH if low is None or high is None else f"[{number_text(low)}, {number_text(high)}]"


def estimate_text(rho: float | None, low: float | None, high: float | None) -> str:
    """An estimate with its interval, or without where it has none: "-0.62 [-0.71, -0.52]"."""
    bounds = interval_text(low, high)
    return number_text(rho) + ("" if rho is None or bounds == DASH else f" {bounds}")


def highest(column: str, name: str, *, by: str) -> Callable[[pl.DataFrame], str]:
    """A sentence on the row in which a column is highest.

    Args:
        column: the column.
        name: its name in the sentence.
        by: the column that names the row.
    """

    def sentence(frame: pl.DataFrame) -> str:
        defined = frame.drop_nulls(column)
        if defined.is_empty():
            return ""
        row = defined.row(defined[column].arg_max() or 0, named=True)
        return f"{name} is highest for {row[by]}, at {number_text(row[column])}."

    return sentence


def _column(frame: pl.DataFrame, name: str) -> tuple[str, list[str], bool] | None:
    """Heading, cells and whether they are numbers; None for the upper end of an interval."""
    base, ending = (name.removesuffix(PUBLISHED), PUBLISHED) if name.endswith(PUBLISHED) else (name, "")
    source = " (published)" if ending else ""
    for low, high, heading in SPANS:
        if base == low and high + ending in frame.columns:
            ends = zip(frame[name].to_list(), frame[high + ending].to_list(), strict=True)
            return heading + source, [interval_text(*pair) for pair in ends], True
        if base == high and low + ending in frame.columns:
            return None
    form, numeric = _form(frame[name], base)
    heading = COLUMN_HEADINGS.get(base, label(base) if numeric else base.replace("_", " "))
    return heading + source, [form(value) for value in frame[name].to_list()], numeric


def _form(values: pl.Series, base: str) -> tuple[Callable[[Any], str], bool]:
    if values.dtype == pl.String:
        return (_name if base in _NAMES else _text), base in _P_VALUES
    if values.dtype.is_integer():
        return _text, True
    if base in _P_VALUES:
        return p_value, True
    return partial(number_text, digits=3 if base in _THREE else 2), True


def _text(value: object) -> str:
    return DASH if value is None else str(value)


def _name(value: str | None) -> str:
    return DASH if value is None else label(value)
