"""Settings of the geometry measurement, their ranges and presets, and the tables it fills."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from geodiag.common.schema import BLOCK, F64, FAMILIES, FAMILY, I32, LAYER, RUN, STEP, STR, Column, Table, list_of
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


_LAYERS = (
    RUN,
    LAYER,
    BLOCK,
    FAMILY,
    Column("d_out", I32, "rows of the weight: its output width", "count"),
    Column("d_in", I32, "columns of the weight: its input width, where the geometry lives", "count"),
    Column("dtype", STR, "the type the weight is stored in, such as bfloat16"),
)

_UPDATES = (
    RUN,
    Column("step", I32, "a state's own step; for a task, the step that trained it", "1..T"),
    Column("object", STR, "`state` (theta_t - theta_base) or `task:<name>` (that task's update)"),
    LAYER,
    BLOCK,
    FAMILY,
    Column("norm", F64, "||D||_F of the object's update D", ">= 0"),
    Column("increment_norm", F64, "||theta_t - theta_{t-1}||_F, on state rows only", ">= 0", nullable=True),
    Column("rank", I32, "how many singular directions were kept", "0..rank"),
    Column("energy_kept", F64, "share of ||D||_F^2 in the kept directions", "0..1", nullable=True),
    Column("stable_rank", F64, "||D||_F^2 / s_1^2", ">= 1", nullable=True),
    Column("changed_share", F64, "share of the weight's entries that changed at all", "0..1", nullable=True),
    Column("rounding_floor", F64, "the norm that rounding alone would give", ">= 0", nullable=True),
    Column("singular_values", list_of(F64), "the kept singular values, largest first", "> 0", nullable=True),
)

_PAIRS = (
    RUN,
    Column("step", I32, "its step; for two tasks, the first at which both are active", "1..T"),
    Column("kind", STR, "active: two active objects; state: S_t and one of them", "active or state"),
    Column("object_i", STR, "`task:<name>` or `state`; for kind state it is S_t"),
    Column("object_j", STR, "`task:<name>` or `state`"),
    LAYER,
    BLOCK,
    FAMILY,
    Column("sar_ij", F64, "||D_i V_j||_F / ||D_i||_F", "0..1", nullable=True),
    Column("sar_ji", F64, "||D_j V_i||_F / ||D_j||_F", "0..1", nullable=True),
    Column("sar", F64, "mean of sar_ij and sar_ji", "0..1", nullable=True),
    Column("conflict", F64, "bures_sq / (trace_i + trace_j + lambda)", "0..1", nullable=True),
    Column("bures_sq", F64, "squared Bures-Wasserstein distance of B_i and B_j", ">= 0", nullable=True),
    Column("trace_i", F64, "tr B_i, lambda * union_rank included", ">= 0", nullable=True),
    Column("trace_j", F64, "tr B_j, lambda * union_rank included", ">= 0", nullable=True),
    Column("union_rank", I32, "columns of the pair's union basis", "count", nullable=True),
    Column("lambda_share", F64, "share of the traces that lambda contributes", "0..1", nullable=True),
)

_UNIONS = (
    RUN,
    STEP,
    LAYER,
    Column("active_rank", I32, "columns of the union basis of the active set", "count", nullable=True),
    Column("state_rank", I32, "columns of the union basis of the active set and S_t", "count", nullable=True),
)

_PAIR_KEY = ("run", "step", "kind", "object_i", "object_j", "layer")

GEOMETRY_TABLES = (
    Table("layers", "one layer of a run", ("run", "layer"), _LAYERS),
    Table("updates", "one object's update in one layer", ("run", "step", "object", "layer"), _UPDATES),
    Table("pairs", "two objects compared in one layer", _PAIR_KEY, _PAIRS),
    Table("unions", "the union bases of one step in one layer", ("run", "step", "layer"), _UNIONS),
)
"""In the order in which they are written."""

PER_LAYER_TABLES = tuple(table.name for table in GEOMETRY_TABLES)
"""The tables that every layer adds rows to."""
