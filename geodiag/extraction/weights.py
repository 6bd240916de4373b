"""The updates of one layer between the checkpoints of a run, each of which is read once: dense, or still factored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from geodiag.checkpoints import Factors
from geodiag.extraction.plan import Update
from geodiag.geometry import changed_share, frobenius_norm, product_floor_sq, right_factor, rounding_floor_sq

Stored = Tensor | Factors | None
"""What a checkpoint has of a layer: the whole weight (d_out, d_in), the factors of its change since the base, or
nothing, where the layer is the base's own."""


@dataclass(frozen=True)
class LayerSource:
    """Where one layer of a run comes from."""

    read: Callable[[Path], Stored]
    """Reads what the checkpoint at a path has of the layer, in stored types, on the CPU."""
    whole: Callable[[Path], bool]
    """Whether that is the whole weight; known without reading it."""
    base: Path
    """The checkpoint that factors are changes of."""
    shape: tuple[int, int]
    """(d_out, d_in)."""


@dataclass(frozen=True)
class Measures:
    """What is known of one update from its two ends alone."""

    norm: float
    """||D||_F."""
    increment_norm: float | None
    """||theta_t - theta_(t-1)||_F of a state; None for a task."""
    changed_share: float | None
    """The share of stored entries that changed at all; None where an end is not stored as one weight."""
    rounding_floor: float
    """The norm that storing both ends in their types would give by rounding alone."""


@dataclass(frozen=True)
class _Whole:
    """A weight on the device with its rounding floor, which every update that uses it needs."""

    value: Tensor
    floor_sq: float


@dataclass(frozen=True)
class _Product:
    """A change since the base, B A with the scale in B, on the device in float64."""

    B: Tensor
    A: Tensor
    floor_sq: float


class LayerUpdates:
    """Reads updates of one layer in the order of a plan, holding on to few weights.

    An update between two ends that are both known by their factored change since the base is the product
    [B_new, -B_old] [A_new; A_old], and the base itself is not read for it. Every other one is a dense difference.
    Kept between updates are the base, which states and experts are compared with, and the last three others,
    so that a pass in plan order reads each checkpoint once.
    """

    def __init__(
        self, source: LayerSource, updates: Sequence[Update], *, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._source, self._updates = source, updates
        self._device, self._dtype = device, dtype
        self._held: dict[Path, _Whole | _Product] = {}

    def factored(self, index: int) -> bool:
        """Whether an update is a product of factors; known without reading."""
        update = self._updates[index]
        return self._relative(update.new) and self._relative(update.old)

    def matrix(self, index: int) -> Tensor:
        """An update in the form that it is measured in, on the device.

        Returns:
            D (d_out, d_in), subtracted in at least float32 and in the working precision; of a factored update its
            right factor (r, d_in) in float64, which has the same norm, right spectrum and projections.
        """
        update = self._updates[index]
        change = self._change(update.new, update.old)
        return change if self.factored(index) else change.to(self._dtype)

    def measures(self, index: int, matrix: Tensor) -> Measures:
        """The measures of one update, whose `matrix` has just been read."""
        update = self._updates[index]
        norm = frobenius_norm(matrix).item()
        return Measures(
            norm=norm,
            increment_norm=self._increment_norm(index) if update.role == "state" else None,
            changed_share=self._changed_share(index, norm),
            rounding_floor=self._floor_sq(index) ** 0.5,
        )

    def _increment_norm(self, index: int) -> float:
        # The earlier state is asked for first: it is then the older of the two, and the next to make room.
        before = self._source.base if index < 2 else self._updates[index - 2].new
        return frobenius_norm(self._change(self._updates[index].new, before, old_first=True)).item()

    def _changed_share(self, index: int, norm: float) -> float | None:
        ends = (self._updates[index].new, self._updates[index].old)
        if norm == 0 and self.factored(index):
            return 0.0
        if any(self._relative(path) and path != self._source.base for path in ends):
            return None
        new, old = (self._weight(path).value for path in ends)
        return changed_share(new, old.to(new.dtype))

    def _floor_sq(self, index: int) -> float:
        """Of each end what storing it has left: the weight, the factors, or the base's weight and the factors."""
        update = self._updates[index]
        ends = (update.new, update.old)
        floor = sum(self._product(path).floor_sq for path in ends if self._relative(path))
        return floor if self.factored(index) else floor + sum(self._weight(path).floor_sq for path in ends)

    def _change(self, new: Path, old: Path, *, old_first: bool = False) -> Tensor:
        """theta_new - theta_old; the right factor of it where both ends are changes since the base."""
        if self._relative(new) and self._relative(old):
            n, o = self._product(new), self._product(old)
            return right_factor(torch.cat([n.B, -o.B], dim=1), torch.cat([n.A, o.A]))
        before = self._weight(old).value if old_first else None
        D = _difference(self._weight(new).value, self._weight(old).value if before is None else before)
        for path, sign in ((new, 1), (old, -1)):
            if self._relative(path):
                product = self._product(path)
                D = D + sign * (product.B @ product.A).to(D.dtype)
        return D

    def _relative(self, path: Path) -> bool:
        """Whether a checkpoint is known by its change since the base; the base's own is nothing."""
        return path == self._source.base or not self._source.whole(path)

    def _weight(self, path: Path) -> _Whole:
        """The whole weight at `path`, or the base's for a checkpoint that is known by its change."""
        found = self._end(self._source.base if self._relative(path) else path)
        assert isinstance(found, _Whole)
        return found

    def _product(self, path: Path) -> _Product:
        """The change since the base of a checkpoint that is known by it."""
        if path == self._source.base:
            return self._no_change()
        found = self._end(path)
        assert isinstance(found, _Product)
        return found

    def _end(self, path: Path) -> _Whole | _Product:
        """What is stored at `path`, from what is held if it is there; the oldest beside the base makes room."""
        end = self._held.pop(path, None) or self._loaded(self._source.read(path))
        self._held[path] = end  # last is newest
        others = [held for held in self._held if held != self._source.base]
        for oldest in others[:-3]:
            del self._held[oldest]
        return end

    def _loaded(self, stored: Stored) -> _Whole | _Product:
        if stored is None:
            return self._no_change()
        if isinstance(stored, Tensor):
            value = stored.to(self._device)
            return _Whole(value, rounding_floor_sq(value))
        B, A = stored.B.to(self._device), stored.A.to(self._device)
        return _Product(B.double() * stored.scale, A.double(), stored.scale**2 * product_floor_sq(B, A))

    def _no_change(self) -> _Product:
        d_out, d_in = self._source.shape
        empty = torch.zeros(0, dtype=torch.float64, device=self._device)
        return _Product(empty.view(d_out, 0), empty.view(0, d_in), 0.0)


def _difference(new: Tensor, old: Tensor) -> Tensor:
    """new - old in float32, or in float64 where either is stored so."""
    wide = torch.float64 if torch.float64 in (new.dtype, old.dtype) else torch.float32
    return new.to(wide) - old.to(wide)
