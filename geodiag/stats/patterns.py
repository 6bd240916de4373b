"""Which rows are complete for which columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from geodiag.stats.arrays import Bools, Floats, Ints


@dataclass(frozen=True)
class Complete:
    """Signals and targets that are known on the same rows."""

    rows: Bools
    """The rows complete in all of them, shape (n,)."""
    signals: Ints
    """Columns of the signals."""
    targets: Ints
    """Columns of the targets."""


def complete_rows(signals: Floats, targets: Floats, *, among: Bools) -> Iterator[Complete]:
    """Split a grid of pairs into blocks that share their complete rows.

    Rows are left out pair by pair, not for the whole table; ranks are shared by the pairs of a block.

    Args:
        signals: shape (n, S), NaN where missing.
        targets: shape (n, K), NaN where missing.
        among: the rows in question, shape (n,).
    """
    for signal_rows, signal_columns in _alike(~np.isnan(signals) & among[:, None]):
        for target_rows, target_columns in _alike(~np.isnan(targets) & among[:, None]):
            yield Complete(signal_rows & target_rows, signal_columns, target_columns)


def _alike(present: Bools) -> Iterator[tuple[Bools, Ints]]:
    """Columns with the same rows present, together."""
    by_rows: dict[bytes, list[int]] = {}
    for m, column in enumerate(present.T):
        by_rows.setdefault(column.tobytes(), []).append(m)
    for columns in by_rows.values():
        yield present[:, columns[0]], np.array(columns, dtype=np.intp)
