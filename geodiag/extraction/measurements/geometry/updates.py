"""Updates of one layer between the checkpoints of a run, dense or factored; each checkpoint is read once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

from geodiag.checkpoints import Factors, Layer, ModelWeights
from geodiag.errors import CheckpointError
from geodiag.extraction.plan import Update
from geodiag.geometry import (
    changed_share,
    difference,
    frobenius_norm,
    product_floor_sq,
    right_factor,
    rounding_floor_sq,
)

Stored = Tensor | Factors | None
"""What a checkpoint has of a layer: the whole weight (d_out, d_in), the factors of its change since the base, or
nothing, where the layer is the base's own."""


@dataclass(frozen=True)
class LayerSource:
    """Where one layer of a run comes from."""

    layer: Layer
    """The layer, as the base has it."""
    checkpoints: Mapping[Path, ModelWeights]
    """The base and every checkpoint that an update leads to."""
    base: Path
    """The checkpoint that factors are changes of."""


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
    Kept between updates are the base, which states and experts are compared with, and the last `window` others,
    three of which are enough for a pass in plan order to read each checkpoint once. Several threads may read at a
    time.
    """

    def __init__(
        self,
        source: LayerSource,
        updates: Sequence[Update],
        *,
        device: torch.device,
        dtype: torch.dtype,
        window: int = 3,
    ) -> None:
        self._source, self._updates = source, updates
        self._device, self._dtype = device, dtype
        self._shape = (source.layer.d_out, source.layer.d_in)
        # Checkpoints that are known by their change since the base; the base's own is nothing.
        self._adapters: set[Path] = set()
        for path, weights in source.checkpoints.items():
            if weights.holds(source.layer) != "whole":
                self._adapters.add(path)
        self._relative = self._adapters | {source.base}
        empty = torch.zeros(0, dtype=torch.float64, device=device)
        self._no_change = _Product(empty.view(self._shape[0], 0), empty.view(0, self._shape[1]), 0.0)
        self._base: dict[Path, Future[_Whole | _Product]] = {}
        self._held: dict[Path, Future[_Whole | _Product]] = {}
        self._room = window
        self._asked: set[int] = set()
        self._spares: defaultdict[int, list[Tensor]] = defaultdict(list)
        self._lock = Lock()

    def factored(self, index: int) -> bool:
        """Whether an update is a product of factors; known without reading."""
        update = self._updates[index]
        return update.new in self._relative and update.old in self._relative

    def new(self, n: int) -> Tensor:
        """Room for n dense updates in the working precision, on the device; what was given back first."""
        with self._lock:
            if self._spares[n]:
                return self._spares[n].pop()
        return torch.empty(n, *self._shape, dtype=self._dtype, device=self._device)

    def give_back(self, room: Tensor) -> None:
        """Lets the next caller of `new` have the room: first touching fresh memory costs more than filling it."""
        with self._lock:
            self._spares[len(room)].append(room)

    def prefetch(self, index: int) -> None:
        """Reads what an update that nobody has asked for needs, and keeps it for whoever does; errors too."""
        update = self._updates[index]
        if index in self._asked:
            return
        for path in (update.old, update.new):
            if path != self._source.base or not self.factored(index):
                with suppress(Exception):
                    self._end(path)

    def matrix(self, index: int, *, out: Tensor | None = None) -> Tensor:
        """An update in the form that it is measured in, on the device.

        Args:
            index: the update's.
            out: where to put a dense one, (d_out, d_in) in the working precision; None is a new tensor.

        Returns:
            D (d_out, d_in), subtracted in at least float32 and in the working precision; of a factored update its
            right factor (r, d_in) in float64, which has the same norm, right spectrum and projections.
        """
        update = self._updates[index]
        self._asked.add(index)
        if self.factored(index):
            return self._factored_change(update.new, update.old)
        return self._dense_change(update.new, update.old, out=out)

    def measures(self, index: int, matrix: Tensor) -> Measures:
        """The measures of one update, whose `matrix` has just been read.

        Raises:
            CheckpointError: an end of the update is not finite, which shows in the update's norm.
        """
        update = self._updates[index]
        norm = frobenius_norm(matrix).item()
        if not isfinite(norm):
            for path in (update.old, update.new):
                self._source.checkpoints[path].read_layer(self._source.layer)  # refuses what is not finite
            raise CheckpointError(
                "the weights are finite, their difference from the base is not",
                where=update.new,
                fix="check that both belong to one model",
            )
        share: float | None = None
        if norm == 0 and self.factored(index):
            share = 0.0
        elif self._adapters.isdisjoint((update.new, update.old)):
            share = changed_share(matrix)
        return Measures(
            norm=norm,
            increment_norm=self._increment_norm(index) if update.role == "state" else None,
            changed_share=share,
            rounding_floor=self._floor_sq(index) ** 0.5,
        )

    def _increment_norm(self, index: int) -> float:
        new, before = self._updates[index].new, self._source.base if index < 2 else self._updates[index - 2].new
        if new in self._relative and before in self._relative:
            return frobenius_norm(self._factored_change(new, before)).item()
        room = self.new(1)
        norm = frobenius_norm(self._dense_change(new, before, out=room[0])).item()
        self.give_back(room)
        return norm

    def _floor_sq(self, index: int) -> float:
        """Of each end what storing it has left: the weight, the factors, or the base's weight and the factors."""
        update, factored = self._updates[index], self.factored(index)
        changes, weights = 0.0, 0.0
        for path in (update.new, update.old):
            if path in self._adapters:
                changes += self._product(path).floor_sq
            if not factored:
                weights += self._weight(path).floor_sq
        return changes + weights

    def _factored_change(self, new: Path, old: Path) -> Tensor:
        """The right factor of theta_new - theta_old, both of which are changes since the base."""
        n, o = self._product(new), self._product(old)
        return right_factor(torch.cat([n.B, -o.B], dim=1), torch.cat([n.A, o.A]))

    def _dense_change(self, new: Path, old: Path, *, out: Tensor | None = None) -> Tensor:
        """theta_new - theta_old, where at least one is a whole weight."""
        # The earlier one is asked for first: it is then the older of the two, and the next to make room.
        before, after = self._weight(old).value, self._weight(new).value
        D = difference(after, before, self.new(1)[0] if out is None else out)
        for path, sign in ((new, 1), (old, -1)):
            if path in self._adapters:
                product = self._product(path)
                D += sign * (product.B @ product.A).to(D.dtype)
        return D

    def _weight(self, path: Path) -> _Whole:
        """The whole weight at `path`, or the base's for a checkpoint that is known by its change."""
        weight = self._end(self._source.base if path in self._adapters else path)
        assert isinstance(weight, _Whole)
        return weight

    def _product(self, path: Path) -> _Product:
        """The change since the base of a checkpoint that is known by it."""
        if path == self._source.base:
            return self._no_change
        product = self._end(path)
        assert isinstance(product, _Product)
        return product

    def _end(self, path: Path) -> _Whole | _Product:
        """What is stored at `path`, from what is held if it is there; the oldest beside the base makes room.

        Threads that want the same checkpoint at once wait for the first of them to read it.
        """
        with self._lock:
            held = self._base if path == self._source.base else self._held
            end = held.pop(path, None)
            mine = end is None
            end = end or Future()
            held[path] = end  # last is newest
            if len(self._held) > self._room:
                del self._held[next(iter(self._held))]
        if mine:
            try:
                end.set_result(self._loaded(path))
            except BaseException as error:
                end.set_exception(error)
        return end.result()

    def _loaded(self, path: Path) -> _Whole | _Product:
        stored: Stored = self._source.checkpoints[path].read_layer(self._source.layer, check=False)
        if stored is None:
            return self._no_change
        if isinstance(stored, Factors):
            B, A = stored.B.to(self._device), stored.A.to(self._device)
            return _Product(B.double() * stored.scale, A.double(), stored.scale**2 * product_floor_sq(B, A))
        if self._device.type != "cuda":
            value = stored.to(self._device)
            return _Whole(value, rounding_floor_sq(value))
        # On a stream of its own, from pinned memory: the copy runs beside the kernels of earlier updates.
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            value = stored.pin_memory().to(self._device, non_blocking=True)
            whole = _Whole(value, rounding_floor_sq(value))
        stream.synchronize()
        value.record_stream(torch.cuda.default_stream(self._device))
        return whole
