"""A LoRA adapter on disk: for each layer the factors of its update, which is never multiplied out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from geodiag.checkpoints.adapter_files import AdapterSettings
from geodiag.checkpoints.checkpoint import Checkpoint
from geodiag.checkpoints.layers import Layer, LeftOut, MatrixPart
from geodiag.checkpoints.model_weights import Factors, Holding
from geodiag.checkpoints.unsupported import check_finite, check_readable, check_shape
from geodiag.common.adapters import AdapterLocation

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class FactorNames:
    """Tensors of an adapter that are the factors of one layer."""

    module: str
    """Path of the module in the model."""
    B: str
    """Name of the left factor, (rows, r)."""
    A: str
    """Name of the right factor, (r, d_in)."""
    part: MatrixPart
    """Rows of B that belong to the layer, where a module contains several projections."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """A LoRA adapter of one base. Opening one reads headers; only `read_layer` touches a factor.

    It stands for theta = theta_base + scale * B A on layers with factors, its own weight on layers saved whole
    (`modules_to_save`), and theta_base everywhere else.
    """

    path: Path
    """The folder."""
    settings: AdapterSettings
    """Ranks and scales."""
    weights: Checkpoint
    """Its tensors, by their names in its file."""
    factors: Mapping[str, FactorNames]
    """Factors by the canonical name of the layer."""
    whole: Mapping[str, tuple[str, MatrixPart]]
    """Tensor and part of it of each layer saved whole, by the canonical name of the layer."""
    left_out: tuple[LeftOut, ...]
    """Tensors that change no target layer."""
    kind: ClassVar[Literal["adapter"]] = "adapter"
    """As in `ModelWeights`."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Its configuration and its weights."""
        return (AdapterLocation(self.path).config, *self.weights.files)

    def holds(self, layer: Layer) -> Holding:
        """How the adapter changes a layer: `factors` (B and A), `whole` (full weight saved), `nothing` (unchanged)."""
        if layer.name in self.factors:
            return "factors"
        return "whole" if layer.name in self.whole else "nothing"

    def check(self, layer: Layer) -> None:
        """Check from headers alone that the factors or the whole weight of a layer fit the base.

        Raises:
            CheckpointError: a factor or weight has another shape or rank than it should, or is quantised.
        """
        expected = (layer.d_out, layer.d_in)
        if layer.name in self.factors:
            self._check_factors(self.factors[layer.name], expected)
        elif layer.name in self.whole:
            tensor, part = self.whole[layer.name]
            check_readable(self.weights.info(tensor), where=self.path, tensor=tensor)
            check_shape(part.shape(self.weights.info(tensor).shape), expected, where=self.path, tensor=tensor)

    def read_layer(self, layer: Layer, *, check: bool = True) -> Factors | torch.Tensor | None:
        """Read the factors or the whole weight of one layer.

        Args:
            layer: the layer, as the base has it.
            check: whether to refuse a whole weight with NaN or infinities; factors are always checked.

        Returns:
            Its factors; or the whole weight (d_out, d_in) where the adapter replaces it; or None where the layer is
            the base's own. On the CPU, in stored types; every number is finite.

        Raises:
            CheckpointError: as `check`, or NaN or infinities.
        """
        self.check(layer)
        if layer.name in self.factors:
            names = self.factors[layer.name]
            B, A = self._finite(names.B), self._finite(names.A)
            return Factors(names.part.take_rows(B), A, self.settings.scale(names.module))
        if layer.name in self.whole:
            tensor, part = self.whole[layer.name]
            return part.take(self._finite(tensor) if check else self.weights.read(tensor))
        return None

    def _check_factors(self, names: FactorNames, expected: tuple[int, int]) -> None:
        r = self.settings.rank(names.module)
        B, A = self.weights.info(names.B), self.weights.info(names.A)
        for tensor, info in ((names.B, B), (names.A, A)):
            check_readable(info, where=self.path, tensor=tensor)
        check_shape(names.part.shape(B.shape), (expected[0], r), where=self.path, tensor=names.B, of="rank and base")
        check_shape(A.shape, (r, expected[1]), where=self.path, tensor=names.A, of="rank and base")

    def _finite(self, tensor: str) -> torch.Tensor:
        value = self.weights.read(tensor)
        check_finite(value, where=self.weights.tensors[tensor][1], tensor=tensor)
        return value
