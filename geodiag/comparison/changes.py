"""The result of a comparison: one row a layer, aggregated over families and blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from geodiag.common.families import FAMILIES

if TYPE_CHECKING:
    import polars as pl


COMPARED_DIRECTIONS = 32
"""Of how many directions the share of the energy is told."""


@dataclass(frozen=True)
class LayerChange:
    """What changed in one layer; undefined values are None."""

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
    """The share of entries that changed at all; None for an adapter's factors, whose product is not formed."""
    rounding_floor: float
    """The norm that storing both ends in their types would give by rounding alone."""
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
    """What changed in all layers of one family; undefined values are None."""

    family: str
    layers: int
    """How many there are."""
    unchanged: int
    """How many did not change at all."""
    rounding: int
    """How many changed by no more than rounding may give."""
    norm: float
    """The root of the layers' summed squares."""
    relative_norm: float | None
    """The same of the change over the same of the weights."""
    share: float | None
    """The share of the whole change's square, 0..1."""
    changed_share: float | None
    """The share of all entries that changed at all."""
    rounding_floor: float
    """The root of the layers' summed squares."""
    stable_rank: float | None
    """The median over layers that changed."""
    energy: float | None
    """The share of the family's squared change in the top 32 directions of its layers."""


@dataclass(frozen=True, repr=False)
class Comparison:
    """What changed from one checkpoint to another."""

    a: str
    """The first checkpoint."""
    b: str
    """The second one, or the adapter of the first."""
    kind: str
    """`checkpoint` or `adapter`: what `b` is."""
    layers: tuple[LayerChange, ...]
    """By block, then in the order of `FAMILIES`."""
    left_out: Mapping[str, int]
    """How many tensors were not compared, for each reason."""
    warnings: tuple[str, ...]
    """What may not be as meant."""

    @property
    def families(self) -> tuple[FamilyChange, ...]:
        """The same by family, in the order of `FAMILIES`."""
        total = sum(layer.norm**2 for layer in self.layers)
        by_family = {f: [layer for layer in self.layers if layer.family == f] for f in FAMILIES}
        return tuple(_family(f, layers, total) for f, layers in by_family.items() if layers)

    @property
    def norm(self) -> float:
        """||D||_F over all layers."""
        return _root(layer.norm for layer in self.layers)

    @property
    def relative_norm(self) -> float | None:
        """The same over that of the first checkpoint's layers."""
        return _ratio(self.norm, _root(layer.base_norm for layer in self.layers))

    def most_moved(self, count: int = 10) -> tuple[LayerChange, ...]:
        """The layers that moved most relative to their size, largest first; without those that did not move."""
        moved = [layer for layer in self.layers if layer.norm > 0]
        # A weight that was zero has moved without measure.
        return tuple(sorted(moved, key=lambda m: -(math.inf if m.relative_norm is None else m.relative_norm))[:count])

    def grid(self) -> pl.DataFrame:
        """One row a (block, family): `relative_norm` of their layers together, null where it is not defined."""
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

    def to_text(self, *, top: int = 10) -> str:
        """A table by family and the layers that moved most, for a terminal.

        Args:
            top: how many of these layers.
        """
        from geodiag.comparison.rendering import comparison_text

        return comparison_text(self, top=top)

    def to_json(self, *, indent: int | None = 2) -> str:
        """Every number as JSON; undefined numbers are null.

        Args:
            indent: spaces of an indentation; None puts all in one line.
        """
        from geodiag.comparison.rendering import comparison_json

        return comparison_json(self, indent=indent)

    def __repr__(self) -> str:
        return f"Comparison({self.a!r}, {self.b!r}: {len(self.layers)} layers, relative norm {self.relative_norm})"

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        from geodiag.comparison.rendering import comparison_html

        return comparison_html(self)


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
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not sum(weights) > 0:
        return None
    return sum(value * weight for value, weight in zip(known, weights, strict=True)) / sum(weights)
