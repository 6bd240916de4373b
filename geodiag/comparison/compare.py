"""Comparing two checkpoints, one layer of each in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from geodiag.checkpoints import (
    Checkpoint,
    Factors,
    Layer,
    ModelWeights,
    Reading,
    check_same_layers,
    match_layers,
    open_checkpoint,
    open_model,
)
from geodiag.comparison.changes import COMPARED_DIRECTIONS, LayerChange, ModelChange
from geodiag.comparison.rendering import comparison_html, comparison_json, comparison_text
from geodiag.geometry import (
    Spectrum,
    changed_share,
    difference,
    frobenius_norm,
    product_dtype,
    product_floor_sq,
    right_factor,
    right_spectrum,
    rounding_floor_sq,
    stable_rank,
)


class Comparison(ModelChange):
    """The change of one checkpoint to another, as a table of layers, text, JSON and HTML."""

    def to_text(self, *, top: int = 10) -> str:
        """A table by family and the layers that moved most, for a terminal.

        Args:
            top: how many of these layers.
        """
        return comparison_text(self, top=top)

    def to_json(self, *, indent: int | None = 2) -> str:
        """Every number as JSON; undefined numbers are null.

        Args:
            indent: spaces of an indentation; None puts all in one line.
        """
        return comparison_json(self, indent=indent)

    def __repr__(self) -> str:
        return f"Comparison({self.a!r}, {self.b!r}: {len(self.layers)} layers, relative norm {self.relative_norm})"

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return comparison_html(self)


def compare_checkpoints(
    a: str | Path,
    b: str | Path,
    *,
    families: Sequence[str] | None = None,
    pattern: str | None = None,
    device: torch.device | None = None,
    reading: Reading = "mmap",
    opened: Callable[[int], None] = lambda _layers: None,
    compared: Callable[[Layer], None] = lambda _layer: None,
) -> Comparison:
    """Compare two checkpoints of one model, or a checkpoint and an adapter of it, on their target layers.

    Norms are ||D||_F with D = W_b - W_a in float32 (float64 where a weight is stored so), or D = scale * B A of an
    adapter, which is not multiplied out. Directions are right singular vectors from a block Krylov iteration.

    Args:
        a: the first checkpoint: a folder, a safetensors file, or an address.
        b: the second one, or a LoRA adapter of the first.
        families: the projection families to compare; all seven by default.
        pattern: a regular expression that is searched for in each layer's name.
        device: where to compute; the CPU by default.
        reading: how weights are read from local disks.
        opened: called once with the number of layers.
        compared: called with every layer once it is compared.

    Raises:
        CheckpointError: one cannot be read, or they are not of one model.
        SettingsError: an unknown family, or no layer that fits.
    """
    base = open_checkpoint(a, reading=reading)
    table = match_layers(base, families=families, pattern=pattern)
    other = open_model(b, base=base)
    check_same_layers(table.layers, other)
    opened(len(table.layers))
    changes = []
    for layer in table.layers:
        changes.append(_compare(layer, base, other, device or torch.device("cpu")))
        compared(layer)
    return Comparison(
        a=str(base.path),
        b=str(other.path),
        kind=other.kind,
        layers=tuple(changes),
        left_out=table.left_out_counts,
        warnings=table.warnings,
    )


def _compare(layer: Layer, base: Checkpoint, other: ModelWeights, device: torch.device) -> LayerChange:
    old = base.read_layer(layer).to(device)
    new = other.read_layer(layer)
    if isinstance(new, Tensor):
        new = new.to(device)
        wide = torch.promote_types(torch.promote_types(old.dtype, new.dtype), torch.float32)
        D = difference(new, old, torch.empty_like(old, dtype=wide))
        floor_sq = rounding_floor_sq(old) + rounding_floor_sq(new)
        return _change(layer, D, old, floor_sq=floor_sq, share=changed_share(D), method="krylov")
    if new is None:  # an adapter that leaves the layer as the base has it
        nothing = old.new_zeros(1, layer.d_in, dtype=torch.float64)
        return _change(layer, nothing, old, floor_sq=0.0, share=0.0, method="thin")
    return _factored(layer, new, old)


def _factored(layer: Layer, factors: Factors, old: Tensor) -> LayerChange:
    B, A = factors.B.to(old.device), factors.A.to(old.device)
    C = right_factor(factors.scale * B.double(), A)
    floor_sq = factors.scale**2 * product_floor_sq(B, A)
    share = 0.0 if frobenius_norm(C).item() == 0 else None
    return _change(layer, C, old, floor_sq=floor_sq, share=share, method="thin")


def _change(layer: Layer, D: Tensor, old: Tensor, *, floor_sq: float, share: float | None, method: str) -> LayerChange:
    """The measures of a change D, or of its right factor, which has the same norm and right spectrum."""
    norm, base_norm = frobenius_norm(D), frobenius_norm(old).item()
    size = norm.item()
    top = _top_directions(D, norm, method) if size else None
    return LayerChange(
        layer=layer.name,
        block=layer.block,
        family=layer.family,
        d_out=layer.d_out,
        d_in=layer.d_in,
        norm=size,
        base_norm=base_norm,
        relative_norm=size / base_norm if base_norm > 0 else None,
        changed_share=share,
        rounding_floor=math.sqrt(floor_sq),
        stable_rank=None if top is None else stable_rank(norm, top.s_1[0]).item(),
        energy=None if top is None else top.energy_kept[0].item(),
    )


def _top_directions(D: Tensor, norm: Tensor, method: str) -> Spectrum:
    rough = D.to(product_dtype((D.shape[0], D.shape[1]), D.device)) if D.dtype == torch.float32 else D
    return right_spectrum(
        D[None], norm[None], rank=COMPARED_DIRECTIONS, energy=1.0, lam=0.0, method=method, rough=rough[None]
    )
