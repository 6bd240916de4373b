"""Undefined numbers: NaN inside computations, None in rows and results."""

from __future__ import annotations

import math


def defined(value: float) -> float | None:
    """The number, or None for NaN."""
    return None if math.isnan(value) else float(value)
