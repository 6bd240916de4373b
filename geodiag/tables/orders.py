"""The order in which sizes and methods stand in tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from math import inf
from types import MappingProxyType

METHODS = ("Seq. SFT", "EWC", "FOREVER", "AIMMerging")
"""The paper's methods, in its order."""

BASELINE_METHOD = METHODS[0]
"""Training on task after task without any protection."""

_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


def order_sizes(sizes: Iterable[str]) -> list[str]:
    """Sizes by the number of parameters they name ("600M" before "1.7B"), others after them by name."""
    return sorted(set(sizes), key=lambda size: (_parameters(size), size))


def order_methods(methods: Iterable[str]) -> list[str]:
    """The paper's methods in its order, then others by name."""
    return sorted(set(methods), key=lambda m: (METHODS.index(m) if m in METHODS else len(METHODS), m))


ORDERS: Mapping[str, Callable[[Iterable[str]], list[str]]] = MappingProxyType(
    {"size": order_sizes, "method": order_methods}
)
"""How the values of a label are ordered."""


def _parameters(size: str) -> float:
    match = re.match(r"\s*([0-9]*\.?[0-9]+)\s*([kmbt]?)", size.lower())
    return inf if match is None else float(match[1]) * _UNITS[match[2]]
