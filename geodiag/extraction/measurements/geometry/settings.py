"""Settings of the geometry measurement, their ranges and presets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from geodiag.common.families import FAMILIES
from geodiag.errors import SettingsError

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},  # the definitions of arXiv 2605.09608, which are the defaults
    "release": {"energy_of": "sketch"},  # what the paper's released analysis code did where it differs
}
"""Named settings; what a user sets beside them wins."""


@dataclass(frozen=True)
class GeometrySettings:
    """What is computed, and how; stored with every run. Two runs compare only under equal settings."""

    rank: int = 32
    """The most directions kept of an update."""
    energy: float = 0.95
    """The share of the squared energy to reach, in (0, 1]."""
    energy_of: Literal["total", "sketch"] = "total"
    """What energy is a share of: ||D||_F^2, or the sum of the rank + 8 top squared values."""
    lam: float = field(default=1e-6, metadata={"flag": "lambda"})
    """The regulariser lambda of the covariances, at least 0; absolute."""
    spectrum: Literal["krylov", "exact"] = "krylov"
    """How singular vectors are computed: a block Krylov iteration in float32, or a full SVD in float64."""
    families: tuple[str, ...] = field(default=FAMILIES, metadata={"metavar": "FAMILY,..."})
    """The projection families read."""
    layers: str | None = field(default=None, metadata={"metavar": "REGEX"})
    """A regular expression that layer names must match somewhere; all layers where it is not given."""

    def __post_init__(self) -> None:
        rules = (
            (self.rank >= 1, "rank", self.rank, "a whole number from 1"),
            (0 < self.energy <= 1, "energy", self.energy, "a share in (0, 1]"),
            (self.energy_of in ("total", "sketch"), "energy-of", self.energy_of, "total or sketch"),
            (0 <= self.lam < float("inf"), "lambda", self.lam, "a number from 0"),
            (self.spectrum in ("krylov", "exact"), "spectrum", self.spectrum, "krylov or exact"),
            (len(self.families) > 0, "families", "empty", f"some of {', '.join(FAMILIES)}"),
        )
        for holds, name, value, right in rules:
            if not holds:
                raise SettingsError(f"{name} is {value}", where="settings", fix=f"it must be {right}")
        for family in self.families:
            if family not in FAMILIES:
                raise SettingsError(f"unknown family {family!r}", where="settings", fix=f"one of {', '.join(FAMILIES)}")
        try:
            re.compile(self.layers or "")
        except re.error as error:
            raise SettingsError(
                f"layers is {self.layers!r}, no regular expression ({error})",
                where="settings",
                fix=r"such as '\.0\.'",
            ) from error

    def to_config(self) -> dict[str, Any]:
        """The settings as the JSON object that a store keeps; `lam` goes by its name, lambda."""
        config = asdict(self)
        config["lambda"] = config.pop("lam")
        return config | {"families": list(self.families)}


def make_settings(
    preset: str | None = None, *, families: Sequence[str] | None = None, **given: Any
) -> GeometrySettings:
    """Settings from a preset and what was given beside it; None means not given.

    Args:
        preset: a name of `PRESETS`; None is `paper`.
        families: the families read, in any order; kept in the order of `FAMILIES`.
        given: fields of `Settings`.

    Raises:
        SettingsError: an unknown preset or family, or a value out of its range.
    """
    if preset is not None and preset not in PRESETS:
        raise SettingsError(f"unknown preset {preset!r}", where="settings", fix=f"one of {', '.join(PRESETS)}")
    chosen = dict(PRESETS[preset or "paper"]) | {k: v for k, v in given.items() if v is not None}
    settings = replace(GeometrySettings(), **chosen)
    if families is None:
        return settings
    unordered = replace(settings, families=tuple(families))  # says which family is unknown
    return replace(settings, families=tuple(f for f in FAMILIES if f in unordered.families))
