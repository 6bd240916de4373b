"""The checkpoint of an edited step: theta_(t-1) + sum_l M_l(theta_t - theta_(t-1)), in the files of the state after it.

Tensors that the edit leaves as the step left them keep their bytes, and so do those that it puts back whole. All others
are written in float32, or in a dtype asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from geodiag.checkpoints.layers import WHOLE, MatrixPart
from geodiag.common.files import read_json_object, write_text
from geodiag.merging.state_files import StateLayout, typed_layout
from geodiag.models.groups import ParameterGroup, WeightSlot
from geodiag.models.runner import ModelRunner, Multiplier
from geodiag.models.states import ModelState

GroupMultiplier = Callable[[ParameterGroup], Multiplier]
"""What becomes of a group's change, as `ModelRunner.edited` takes it."""


@dataclass
class Rounding:
    """How much of an edit its stored type keeps.

    survived = sum <written - after, meant - after> / sum ||meant - after||^2
    """

    product: float = 0.0
    squared: float = 0.0

    def add(self, *, after: Tensor, meant: Tensor, written: Tensor) -> None:
        """Counts one weight."""
        change = meant.double() - after.double()
        self.product += float(((written.double() - after.double()) * change).sum())
        self.squared += float(change.square().sum())

    @property
    def survived(self) -> float:
        """As a share, 1 where nothing was rounded away."""
        return self.product / self.squared if self.squared > 0 else 1.0


@dataclass
class EditedState:
    """A step's edit, tensor by tensor.

    Args:
        runner: at the state before the step; its weights are not changed.
        after: the state after it.
        multiplier: of the edit, by group.
        dtype: of tensors that hold numbers neither state has.
    """

    runner: ModelRunner
    after: ModelState
    multiplier: GroupMultiplier
    dtype: str = "float32"
    rounding: Rounding = field(default_factory=Rounding)
    edited: list[str] = field(default_factory=list)
    """Names of the groups that differ from the state after the step."""

    def write(self, folder: Path) -> None:
        """Writes the weights, and `config.json` with the dtype that most of what was edited has."""
        types, names = self._types()
        layout = typed_layout(self.after.whole, types, written=())
        layout.create(folder)
        for group in self.runner.groups.values():
            for slot, value in self._values(group):
                if (slot.parameter, slot.part) in names:
                    self._put(folder, layout, slot, value)
        self._write_dtype(folder / "config.json", types)

    def _write_dtype(self, file: Path, types: Mapping[str, str]) -> None:
        """The dtype that a loader must use to lose nothing: the one asked for, where some tensor needed it."""
        stored = {self.after.whole.info(name).dtype for name in types}
        if not file.is_file() or set(types.values()) <= stored:
            return
        settings = read_json_object(file)
        keys = [key for key in ("dtype", "torch_dtype") if key in settings] or ["dtype"]
        write_text(file, json.dumps(settings | dict.fromkeys(keys, self.dtype), indent=2) + "\n")

    def _types(self) -> tuple[dict[str, str], set[tuple[str, MatrixPart]]]:
        """The type of every tensor, and the slots that differ from the files copied."""
        whole = self.after.whole
        types = {name: whole.info(name).dtype for name in whole.names}
        changed: set[tuple[str, MatrixPart]] = set()
        for group in self.runner.groups.values():
            for slot, value in self._values(group):
                tensor, _ = self._place(slot)
                after = self._dense(self.after, slot)
                if not torch.equal(value.float(), after.float()) and group.name not in self.edited:
                    self.edited.append(group.name)
                if not torch.equal(value.float(), self._copied(slot).float()):
                    changed.add((slot.parameter, slot.part))
                    types[tensor] = self._type(types[tensor], value)
        return types, changed

    def _type(self, stored: str, value: Tensor) -> str:
        """The stored type where it holds the value exactly, else the one asked for, or float32 already needed."""
        exact = torch.equal(value.to(getattr(torch, stored)).float(), value.float())
        return stored if exact else self.dtype

    def _values(self, group: ParameterGroup) -> Iterator[tuple[WeightSlot, Tensor]]:
        """Each slot of a group with its weight after the edited step."""
        multiplier = self.multiplier(group)
        for slot in group.slots:
            if multiplier == 1.0:
                yield slot, self._dense(self.after, slot)
            elif multiplier == 0.0:
                yield slot, self._with_added_rows(self._dense(self.runner.state, slot), slot)
            else:
                yield slot, self._changed(slot, multiplier)

    def _changed(self, slot: WeightSlot, multiplier: Multiplier) -> Tensor:
        change = self.runner.delta(self.after, slot)
        change = multiplier(change) if callable(multiplier) else change.scaled(multiplier)
        before = self._dense(self.runner.state, slot).float()
        return self._with_added_rows(before + change.to_dense(tuple(before.shape)).cpu(), slot)

    def _with_added_rows(self, weight: Tensor, slot: WeightSlot) -> Tensor:
        """With the shape of the state after the step: rows that it added stay as it has them."""
        after = self._dense(self.after, slot)
        if after.shape == weight.shape:
            return weight
        whole, n = after.to(torch.promote_types(after.dtype, weight.dtype)).clone(), min(len(after), len(weight))
        whole[:n] = weight[:n]
        return whole

    def _dense(self, state: ModelState, slot: WeightSlot) -> Tensor:
        """A slot's weight with its adapters' factors multiplied out; in the stored dtype where there are none."""
        weight = state.read(slot)
        factors = state.module_factors(slot.module) if len(slot.shape) == 2 and slot.attribute == "weight" else []
        for one in factors:
            weight = weight.float() + one.scale * (slot.part.take_rows(one.B).float() @ one.A.float())
        return weight

    def _copied(self, slot: WeightSlot) -> Tensor:
        """What the files of the state after the step hold without its adapters."""
        return ModelState(self.after.whole).read(slot)

    def _place(self, slot: WeightSlot) -> tuple[str, MatrixPart]:
        """The tensor of the files that holds a slot, and which part of it."""
        match = None if slot.layer is None else self.after.whole.find_layer(slot.layer)
        return (ModelState(self.after.whole).source(slot)[1], WHOLE) if match is None else match

    def _put(self, folder: Path, layout: StateLayout, slot: WeightSlot, value: Tensor) -> None:
        tensor, part = self._place(slot)
        layout.put_part(folder, tensor, part, value)
        written = value.to(getattr(torch, layout.slots[tensor].dtype))
        self.rounding.add(after=self._dense(self.after, slot), meant=value, written=written)
