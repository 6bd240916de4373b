"""What changed between two checkpoints: one row a layer, and its sums by family, block and model.

W is the first checkpoint's weight of a layer, D the change of it; norms are Frobenius norms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from geodiag.common.schema import FAMILIES

if TYPE_CHECKING:
    import polars as pl


COMPARED_DIRECTIONS = 32
"""Top directions of a layer's change of which `energy` is the share."""


@dataclass(frozen=True)
class LayerChange:
    """The change of one layer; undefined values are None."""

    layer: str
    """Its canonical name."""
    block: int
    family: str
    d_out: int
    d_in: int
    norm: float
    """||D||_F of the change D."""
    base_norm: float
    """||W||_F of the first checkpoint's weight W."""
    relative_norm: float | None
    """||D||_F / ||W||_F; None where W is zero."""
    changed_share: float | None
    """The share of entries that differ, 0..1; None for an adapter's factors, whose product is not formed."""
    rounding_floor: float
    """The norm that D would have from rounding both weights to their stored dtypes alone."""
    stable_rank: float | None
    """||D||_F^2 / s_1^2; None where nothing changed."""
    energy: float | None
    """The share of ||D||_F^2 in the top 32 directions, 0..1; None where nothing changed."""

    @property
    def is_rounding(self) -> bool:
        """Whether something changed, but by no more than rounding may give."""
        return 0 < self.norm <= self.rounding_floor


@dataclass(frozen=True)
class FamilyChange:
    """The change of all layers of one family together; undefined values are None."""

    family: str
    layers: int
    """Layers of the family."""
    unchanged: int
    """Layers whose weights are equal in both checkpoints."""
    rounding: int
    """Layers that changed by no more than rounding may give."""
    norm: float
    """sqrt(sum of ||D||_F^2 over the layers)."""
    relative_norm: float | None
    """norm / sqrt(sum of ||W||_F^2 over the layers); None where all W are zero."""
    share: float | None
    """The family's share of the model's squared change, 0..1; None where nothing changed."""
    changed_share: float | None
    """The share of all entries that differ, 0..1."""
    rounding_floor: float
    """sqrt(sum of the layers' squared floors)."""
    stable_rank: float | None
    """The median over layers that changed."""
    energy: float | None
    """The share of the family's squared change in the top 32 directions of its layers, 0..1."""


@dataclass(frozen=True, repr=False)
class ModelChange:
    """The change of one checkpoint to another, layer by layer."""

    a: str
    """The first checkpoint."""
    b: str
    """The second one, or the adapter of the first."""
    kind: str
    """Whether `b` is a `checkpoint` or an `adapter`."""
    layers: tuple[LayerChange, ...]
    """By block, then in the order of `FAMILIES`."""
    left_out: Mapping[str, int]
    """Counts of tensors that were not compared, by reason."""
    warnings: tuple[str, ...]
    """Doubts about how layers were matched, one sentence each."""

    @property
    def families(self) -> tuple[FamilyChange, ...]:
        """The change by family, in the order of `FAMILIES`."""
        total = sum(layer.norm**2 for layer in self.layers)
        by_family = {f: [layer for layer in self.layers if layer.family == f] for f in FAMILIES}
        return tuple(_family(f, layers, total) for f, layers in by_family.items() if layers)

    @property
    def norm(self) -> float:
        """||D||_F over all layers."""
        return _root(layer.norm for layer in self.layers)

    @property
    def relative_norm(self) -> float | None:
        """norm / ||W||_F over all layers; None where all weights are zero."""
        return _ratio(self.norm, _root(layer.base_norm for layer in self.layers))

    def most_moved(self, count: int = 10) -> tuple[LayerChange, ...]:
        """The layers with the largest relative norm, largest first; layers that did not change are left out."""
        moved = [layer for layer in self.layers if layer.norm > 0]
        # The relative norm of a change of a zero weight is infinite.
        return tuple(sorted(moved, key=lambda m: -(math.inf if m.relative_norm is None else m.relative_norm))[:count])

    def grid(self) -> pl.DataFrame:
        """One row a (block, family): the `relative_norm` of its layers together, null where it is undefined."""
        import polars as pl

        places = dict.fromkeys((layer.block, layer.family) for layer in self.layers)
        rows = []
        for block, family in places:
            here = [layer for layer in self.layers if (layer.block, layer.family) == (block, family)]
            rows.append((block, family, _ratio(_root(m.norm for m in here), _root(m.base_norm for m in here))))
        schema = {"block": pl.Int32, "family": pl.Utf8, "relative_norm": pl.Float64}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def to_frame(self) -> pl.DataFrame:
        """One row a layer, with the fields of `LayerChange`."""
        import polars as pl

        return pl.DataFrame([asdict(layer) for layer in self.layers], infer_schema_length=None)


def _family(family: str, layers: Sequence[LayerChange], total: float) -> FamilyChange:
    norm = _root(layer.norm for layer in layers)
    ranks = sorted(layer.stable_rank for layer in layers if layer.stable_rank is not None)
    return FamilyChange(
        family=family,
        layers=len(layers),
        unchanged=sum(layer.norm == 0 for layer in layers),
        rounding=sum(layer.is_rounding for layer in layers),
        norm=norm,
        relative_norm=_ratio(norm, _root(layer.base_norm for layer in layers)),
        share=_ratio(norm**2, total),
        changed_share=_mean([layer.changed_share for layer in layers], [layer.d_out * layer.d_in for layer in layers]),
        rounding_floor=_root(layer.rounding_floor for layer in layers),
        stable_rank=(ranks[(len(ranks) - 1) // 2] + ranks[len(ranks) // 2]) / 2 if ranks else None,
        energy=_mean([layer.energy or 0.0 for layer in layers], [layer.norm**2 for layer in layers]),
    )


def _root(values: Iterable[float]) -> float:
    return math.hypot(*values)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _mean(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """The weighted mean; None where one value is not defined or all weights are zero."""
    defined = [value for value in values if value is not None]
    if len(defined) < len(values) or not sum(weights) > 0:
        return None
    return sum(value * weight for value, weight in zip(defined, weights, strict=True)) / sum(weights)
