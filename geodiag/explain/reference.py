"""All values of a number in a store, to place one of them among the others."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

Percentile = tuple[float | None, int]
"""Percent of other values that are smaller, ties counted half, and how many others there are."""


class Reference:
    """A number's values over runs and steps.

    Args:
        rows: (run, step, value), several of a run and step where there are several.
    """

    def __init__(self, rows: Iterable[tuple[str, int, float]]) -> None:
        self._all: list[float] = []
        self._at: dict[int, list[float]] = {}
        self._of: dict[str, dict[int, list[float]]] = {}
        for run, step, value in rows:
            self._all.append(value)
            self._at.setdefault(step, []).append(value)
            self._of.setdefault(run, {}).setdefault(step, []).append(value)
        self._all.sort()
        for values in self._at.values():
            values.sort()

    def of_run(self, run: str) -> list[float]:
        """All values of a run."""
        return [value for values in self._of.get(run, {}).values() for value in values]

    def in_store(self, value: float) -> Percentile:
        """Where one of the values stands among all others."""
        return percentile(value, self._all, without=[value])

    def at_step(self, value: float, *, run: str, step: int) -> Percentile:
        """Where one of the values stands among those that other runs have at its step."""
        return percentile(value, self._at.get(step, []), without=self._of.get(run, {}).get(step, []))


def percentile(value: float, ordered: Sequence[float], *, without: Sequence[float]) -> Percentile:
    """Percent of values that are smaller than `value`, ties counted half; None where there are none.

    Args:
        value: the value to place.
        ordered: values in ascending order.
        without: those among them that do not count.
    """
    n = len(ordered) - len(without)
    if n <= 0:
        return None, 0
    below = bisect_left(ordered, value) - sum(other < value for other in without)
    same = bisect_right(ordered, value) - bisect_left(ordered, value) - sum(other == value for other in without)
    return 100 * (below + same / 2) / n, n
