"""Options of the tables, and the order of sizes and methods."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf
from types import MappingProxyType

from geodiag.errors import SettingsError
from geodiag.options import AnalyzeOptions
from geodiag.stats import ResamplingSettings

CLUSTERS = ("run", "size", "method", "seed")
"""Labels that can be the independent unit."""


@dataclass(frozen=True)
class Options(AnalyzeOptions):
    """Draws, seed and the independent unit; the defaults are those of the published tables."""

    level: float = 0.95
    """Coverage of intervals."""
    least_runs: int = 6
    """Fewest independent units for an interval of ours."""
    least_runs_paper: int = 4
    """Fewest for an interval or p-value in the paper's format. The paper goes down to 4, where it says little."""
    transitions: int = 12
    """How many harmful transitions are listed."""
    top_layers: int = 10
    """How many layers of a step are ranked first."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.cluster not in CLUSTERS:
            raise SettingsError(f"unknown cluster {self.cluster!r}", fix=f"one of: {', '.join(CLUSTERS)}")
        for name in ("transitions", "top_layers"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}", fix="1 or more")
        if self.seed < 0:
            raise SettingsError(f"seed is {self.seed}", fix="0 or more")
        _ = self.paper  # its own checks cover the rest

    @property
    def ours(self) -> ResamplingSettings:
        """Settings of our own intervals and tests."""
        return ResamplingSettings(
            resamples=self.resamples,
            permutations=self.permutations,
            level=self.level,
            least_runs=self.least_runs,
            least_runs_percentile=self.least_runs,
        )

    @property
    def paper(self) -> ResamplingSettings:
        """Settings of the published intervals and p-values."""
        return replace(self.ours, least_runs_percentile=self.least_runs_paper)

    @property
    def estimates(self) -> ResamplingSettings:
        """Settings of correlations alone."""
        return replace(self.ours, resamples=0, permutations=0)


METHODS = ("Seq. SFT", "EWC", "FOREVER", "AIMMerging")
"""The paper's methods, in its order."""

BASELINE_METHOD = METHODS[0]
"""Sequential fine-tuning, without protection against forgetting."""

_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


def order_sizes(sizes: Iterable[str]) -> list[str]:
    """Sizes by the number of parameters they name ("600M" before "1.7B"), others after them by name."""
    return sorted(set(sizes), key=_size_order)


def order_methods(methods: Iterable[str]) -> list[str]:
    """The paper's methods in its order, then others by name."""
    return sorted(set(methods), key=lambda m: (METHODS.index(m) if m in METHODS else len(METHODS), m))


ORDERS: Mapping[str, Callable[[Iterable[str]], list[str]]] = MappingProxyType(
    {"size": order_sizes, "method": order_methods}
)
"""The order of the values of a label."""


def _size_order(size: str) -> tuple[float, str]:
    match = re.match(r"\s*([0-9]*\.?[0-9]+)\s*([kmbt]?)", size.lower())
    return inf if match is None else float(match[1]) * _UNITS[match[2]], size
