"""The weights of one layer in every checkpoint of a run, each read once, and the updates between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from geodiag.extract.plan import Update
from geodiag.geometry import changed_share, frobenius_norm, rounding_floor_sq

ReadWeight = Callable[[Path], Tensor]
"""Reads the layer's weight (d_out, d_in) from the checkpoint at a path, in its stored type, on the CPU."""


@dataclass(frozen=True)
class Measures:
    """What is known of one update from its two weights alone."""

    norm: float
    """||D||_F."""
    increment_norm: float | None
    """||theta_t - theta_(t-1)||_F of a state; None for a task."""
    changed_share: float
    """The share of entries that changed at all."""
    rounding_floor: float
    """The norm that storing both weights in their types would give by rounding alone."""


@dataclass(frozen=True)
class _Weight:
    """A weight on the device with its rounding floor, which every update that uses it needs."""

    value: Tensor
    floor_sq: float


class LayerWeights:
    """Reads updates of one layer in the order of a plan, holding on to few weights.

    Kept between updates are the base, which every state and expert is compared with, and the last two
    others, so that a pass in plan order reads each checkpoint once.
    """

    def __init__(
        self,
        read: ReadWeight,
        updates: Sequence[Update],
        *,
        base: Path,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._read, self._updates, self._base = read, updates, base
        self._device, self._dtype = device, dtype
        self._held: dict[Path, _Weight] = {}

    def delta(self, index: int) -> Tensor:
        """D of one update, subtracted in at least float32, in the working precision, on the device."""
        update = self._updates[index]
        return _difference(self._weight(update.new).value, self._weight(update.old).value).to(self._dtype)

    def measures(self, index: int, delta: Tensor) -> Measures:
        """The measures of one update, whose `delta` has just been read."""
        update = self._updates[index]
        new, old = self._weight(update.new), self._weight(update.old)
        return Measures(
            norm=frobenius_norm(delta).item(),
            increment_norm=self._increment_norm(index) if update.role == "state" else None,
            changed_share=changed_share(new.value, old.value.to(new.value.dtype)),
            rounding_floor=(new.floor_sq + old.floor_sq) ** 0.5,
        )

    def _increment_norm(self, index: int) -> float:
        # The earlier state is asked for first: it is then the older of the two, and the next to make room.
        before = self._weight(self._base if index < 2 else self._updates[index - 2].new).value
        return frobenius_norm(_difference(self._weight(self._updates[index].new).value, before)).item()

    def _weight(self, path: Path) -> _Weight:
        """The weight at `path`, from those held if it is there; the oldest beside the base makes room."""
        weight = self._held.pop(path, None)
        if weight is None:
            value = self._read(path).to(self._device)
            weight = _Weight(value, rounding_floor_sq(value))
        self._held[path] = weight  # last is newest
        others = [held for held in self._held if held != self._base]
        for oldest in others[:-3]:
            del self._held[oldest]
        return weight


def _difference(new: Tensor, old: Tensor) -> Tensor:
    """new - old in float32, or in float64 where either is stored so."""
    wide = torch.float64 if torch.float64 in (new.dtype, old.dtype) else torch.float32
    return new.to(wide) - old.to(wide)
