"""P-values of a whole table, adjusted for the number of tests in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from geodiag.errors import SettingsError
from geodiag.stats.arrays import Floats


def holm(p: ArrayLike) -> Floats:
    """Holm's step-down p-values: control of the chance of any false rejection.

    With p sorted ascending among m tests, max over j <= i of min(1, (m - j + 1) p_j).

    Args:
        p: p-values of any shape, NaN where there was no test; those stay NaN and do not count.

    Returns:
        Adjusted p-values of the same shape.
    """
    return _adjust(p, lambda s: np.maximum.accumulate(s * np.arange(len(s), 0, -1)))


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Benjamini and Hochberg's p-values: control of the expected share of false rejections.

    With p sorted ascending among m tests, min over j >= i of min(1, m p_j / j).

    Args:
        p: p-values of any shape, NaN where there was no test; those stay NaN and do not count.

    Returns:
        Adjusted p-values of the same shape.
    """
    return _adjust(p, lambda s: np.minimum.accumulate((s * len(s) / np.arange(1, len(s) + 1))[::-1])[::-1])


def _adjust(p: ArrayLike, sorted_rule: Callable[[Floats], Floats]) -> Floats:
    values = np.asarray(p, dtype=np.float64)
    adjusted = values.copy()
    tested = values[~np.isnan(values)]
    if ((tested < 0) | (tested > 1)).any():
        raise SettingsError("p-values outside 0..1", fix="p-values, NaN where there was no test")
    ascending = np.argsort(tested, kind="stable")
    result = np.empty_like(tested)
    result[ascending] = np.minimum(sorted_rule(tested[ascending]), 1.0)
    adjusted[~np.isnan(values)] = result
    return adjusted
