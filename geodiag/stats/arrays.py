"""What the statistics take in: columns of numbers with NaN for missing, and one label a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geodiag.errors import SettingsError

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.intp]
Bools: TypeAlias = NDArray[np.bool_]
Texts: TypeAlias = NDArray[np.object_]


def unexplained(reasons: Texts) -> Bools:
    """Where there is no reason against a number."""
    nothing: Any = None
    return np.asarray(np.equal(reasons, nothing), dtype=np.bool_)


def first_reason(reasons: Texts, others: Texts | str | None, /) -> Texts:
    """Each reason, or where there is none the other one."""
    return np.where(unexplained(reasons), np.asarray(others, dtype=object), reasons)


def as_columns(values: ArrayLike, *, where: str, rows: int | None = None) -> Floats:
    """`values` as float64 columns, shape (n, m); a single column may come as shape (n,).

    Args:
        values: numbers, NaN where missing.
        where: what the array is called in an error.
        rows: the number of rows it must have.

    Raises:
        SettingsError: wrong shape, or an infinite value.
    """
    columns = np.asarray(values, dtype=np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2:
        raise SettingsError(f"array of {columns.ndim} dimensions", where=where, fix="give (rows, columns)")
    if rows is not None and len(columns) != rows:
        raise SettingsError(f"{len(columns)} rows beside {rows} others", where=where, fix="one row each")
    if np.isinf(columns).any():
        raise SettingsError("infinite values", where=where, fix="numbers, or NaN where one is missing")
    return columns


def encode(labels: ArrayLike | Sequence[Any], *, where: str, rows: int | None = None) -> tuple[list[Any], Ints]:
    """Distinct labels in sorted order, and for each row the position of its label among them.

    Sorting makes everything drawn over labels independent of the order of the rows.

    Raises:
        SettingsError: a label is missing, or there is not one a row.
    """
    given = labels if isinstance(labels, np.ndarray) else list(labels)  # type: ignore[arg-type]
    if rows is not None and len(given) != rows:
        raise SettingsError(f"{len(given)} labels beside {rows} rows", where=where, fix="one label a row")
    if isinstance(given, np.ndarray) and given.dtype.kind in "iubUS":
        names, codes = np.unique(given, return_inverse=True)
        return names.tolist(), codes.astype(np.intp)
    if any(label is None or label != label for label in given):
        raise SettingsError("missing labels", where=where, fix="a label in every row")
    distinct = sorted(set(given), key=lambda label: (isinstance(label, str), _sort_key(label)))
    position = {label: code for code, label in enumerate(distinct)}
    return distinct, np.array([position[label] for label in given], dtype=np.intp)


def _sort_key(label: Any) -> Any:
    """Numbers by size, everything else by its text."""
    return (float(label), "") if isinstance(label, int | float | np.number) else (0.0, repr(label))
