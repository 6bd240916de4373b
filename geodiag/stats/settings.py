"""How many draws, how wide an interval, how few runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from geodiag.errors import SettingsError


@dataclass(frozen=True)
class Settings:
    """What an analysis draws and refuses; the defaults are the ones the published tables were made with."""

    resamples: int = 2000
    """Resamples of clusters for percentile intervals; 0: none."""
    permutations: int = 3000
    """Random arrangements for p-values, and the largest set enumerated instead; 0: no p-values."""
    level: float = 0.95
    """Coverage of intervals."""
    least_runs: int = 6
    """Fewest clusters for a jackknife interval."""
    least_runs_percentile: int = 6
    """Fewest clusters for a percentile interval; published tables go down to 4, where it says little."""
    free: bool = True
    """Also shuffle rows freely."""
    unequal: Literal["same", "common"] = "same"
    """Runs of unequal length in whole-run permutation: exchange among runs with the `same` steps only, or drop
    the steps that are not `common` to all runs first."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for name in ("resamples", "permutations"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name} is {getattr(self, name)}", fix="0 or more")
        for name in ("least_runs", "least_runs_percentile"):
            if getattr(self, name) < 2:
                raise SettingsError(f"{name} is {getattr(self, name)}", fix="2 or more")
        if not 0 < self.level < 1:
            raise SettingsError(f"level is {self.level}", fix="a share such as 0.95")
        if self.unequal not in ("same", "common"):
            raise SettingsError(f"unequal is {self.unequal!r}", fix="one of: same, common")
