"""A model loaded once to be run: states read into it in place, edited steps, and the weights put back bit by bit.

    runner = ModelRunner.load(state, base=base, device=device, precision="float32")
    runner.move_to(other_state)                      # in place, one tensor at a time
    with runner.edited(after, 0.5):                  # theta_before + 0.5 (theta_after - theta_before)
        ...                                          # run runner.model
    with runner.edited(after, {"embedding": 1.0}):   # of this group alone; every other group as before
        ...

Adapters are side branches in float32, never merged. In float32 an edited weight is written into the model; in bfloat16
the edited module adds M(Delta) x, Delta formed in float32, so that no edited weight is ever rounded.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from geodiag.checkpoints import Checkpoint
from geodiag.errors import CheckpointError
from geodiag.models.branches import Branches, FactoredBranch, WideModule
from geodiag.models.groups import (
    EMBEDDING,
    LM_HEAD,
    ParameterGroup,
    WeightSlot,
    parameter_groups,
    state_tensors,
    tensor_hash,
)
from geodiag.models.loading import causal_model, quiet
from geodiag.models.states import ModelState, WeightDelta

Precision = Literal["float32", "bfloat16"]
DeltaMap = Callable[[WeightDelta], WeightDelta]
"""A linear map of one matrix's Delta, such as `lambda delta: delta.on_inputs(project)`."""
Multiplier = float | DeltaMap
"""What becomes of a group's Delta: a factor, or a map of each of its matrices' Delta."""
Multipliers = float | Mapping[str, Multiplier] | Callable[[ParameterGroup], Multiplier]
"""By group: one factor for all, those named (the others 0), or a function of the group."""


class ModelRunner:
    """A causal language model on a device, at one state of a run at a time.

    Evaluation mode, no dropout, no gradient asked of any weight. Its weights are only changed by `move_to` and
    within `edited`.
    """

    def __init__(self, model: nn.Module, state: ModelState, precision: Precision) -> None:
        self.model = model
        """The transformers model; call it with `use_cache=False`."""
        self.state = state
        """The state it is at."""
        self.precision: Precision = precision
        """What it computes in."""
        self.groups: Mapping[str, ParameterGroup] = parameter_groups(model)
        """Its parameter groups by name: target matrices first, in the order of blocks."""
        self.tensors: Mapping[str, Tensor] = dict(state_tensors(model))
        """Its parameters and stored buffers by name, a tied one once."""
        self._modules = dict(model.named_modules())
        self._branches = Branches(self._modules)
        self._hashes: dict[str, str] = {}

    @classmethod
    def load(
        cls,
        state: ModelState,
        *,
        base: Path,
        device: torch.device,
        precision: Precision = "float32",
        purpose: str = "losses",
    ) -> ModelRunner:
        """Loads the model of a state, from local files and without running code that lies with it.

        Args:
            state: from `model_state(checkpoint, base=...)`.
            base: the run's base; it also gives the configuration where the state has none.
            device: where the model goes.
            precision: of its weights and of what it computes; see `fitting_precision`.
            purpose: what needs the model, in the plural, for errors.

        Raises:
            CheckpointError: no configuration or weights, one that asks for code of its own, or weights that do not
                fit it.
            SettingsError: transformers is not installed.
        """
        dtype = getattr(torch, precision)
        with quiet(purpose):
            model = causal_model(state.whole, base=base, dtype=dtype, purpose=purpose)
        model.eval().requires_grad_(False)
        model.to(device=device, dtype=dtype)
        for _, tensor in state_tensors(model):
            tensor.data = tensor.data.clone()  # on the CPU it may still be the mapped file's memory
        runner = cls(model, ModelState(state.whole), precision)
        runner.move_to(state)
        return runner

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(iter(self.tensors.values())).device

    @property
    def slots(self) -> Iterator[WeightSlot]:
        """Every slot of every group."""
        return (slot for group in self.groups.values() for slot in group.slots)

    def move_to(self, state: ModelState) -> None:
        """Reads another state's weights in place, one tensor at a time; what both states share is left as it is.

        Raises:
            CheckpointError: a weight is missing, has another shape, or is not finite; the model then is at no state
                of use.
        """
        state.check_used(self.slots, self._modules)
        for slot in self.slots:
            if not state.shares(self.state, slot):
                self._write(slot, state.read(slot))
        self.state = state
        self._hashes.clear()
        self._branches.clear()
        for module in self._modules if state.adapters else ():
            for factors in state.module_factors(module):
                left = factors.B.to(self.device, torch.float32) * factors.scale
                right = factors.A.to(self.device, torch.float32)
                self._branches.add(module, FactoredBranch(left, right))

    def deltas(self, after: ModelState, group: ParameterGroup) -> Iterator[tuple[WeightSlot, WeightDelta]]:
        """Delta = theta_after - theta_now of a group, one slot at a time, in float32 on the model's device.

        LoRA on the same weights stays factored: left @ right = s_t B_t A_t - s_(t-1) B_(t-1) A_(t-1). Rows of an
        embedding or head that only one of the two states has count as unchanged.
        """
        for slot in group.slots:
            yield slot, self.delta(after, slot)

    def delta(self, after: ModelState, slot: WeightSlot) -> WeightDelta:
        """Delta of one slot; as `deltas`."""
        dense = None
        if not after.shares(self.state, slot):
            new, old = (state.read(slot).to(self.device).float() for state in (after, self.state))
            dense = _common_rows(new, old)
        left, right = [], []
        for state, sign in ((after, 1.0), (self.state, -1.0)):
            for b, a in self._factors(state, slot):
                left.append(b * sign)
                right.append(a)
        if not left:
            return WeightDelta(dense)
        return WeightDelta(dense, torch.cat(left, dim=1), torch.cat(right, dim=0))

    @contextmanager
    def edited(self, after: ModelState, multipliers: Multipliers) -> Iterator[None]:
        """The model at theta_now + sum over groups of M_l(Delta_l), while it lasts; Delta = theta_after - theta_now.

        A factor of 1 gives the bits of `after`, and 0 leaves those of the present state. Afterwards the weights are
        read again from their files, and a hash of each tensor that was edited is compared with the one before.

        Args:
            after: the state after the step; the model is at the state before it.
            multipliers: by group; see `Multipliers`.

        Raises:
            CheckpointError: a weight cannot be read, or the files have changed, so that what was put back differs.
        """
        edits = [(group, m) for group in self.groups.values() if (m := _multiplier(multipliers, group)) != 0.0]
        written: list[WeightSlot] = []
        wide: dict[str, WideModule] = {}
        own = self._branches.state()
        try:
            for group, multiplier in edits:
                for slot in group.slots:
                    self._edit(slot, after, multiplier, written, wide)
            yield
        finally:
            self._branches.restore(own)
            for module in wide.values():
                module.close()
            self._put_back(written)

    def _edit(
        self,
        slot: WeightSlot,
        after: ModelState,
        multiplier: Multiplier,
        written: list[WeightSlot],
        wide: dict[str, WideModule],
    ) -> None:
        if callable(multiplier) or not after.shares(self.state, slot):
            self._edit_dense(slot, after, multiplier, written, wide)
        if callable(multiplier):
            return
        own, new = self._factors(self.state, slot), self._factors(after, slot)
        if own:
            self._branches.scale(slot.module, self._rows(slot), 1.0 - multiplier)
        for left, right in new:
            self._branches.add(slot.module, FactoredBranch(self._spread(slot, left * multiplier), right))

    def _edit_dense(
        self,
        slot: WeightSlot,
        after: ModelState,
        multiplier: Multiplier,
        written: list[WeightSlot],
        wide: dict[str, WideModule],
    ) -> None:
        """The change of the whole weight, and for a map of Delta that of the factors too."""
        tensor = self.tensors[slot.parameter]
        if multiplier == 1.0:
            self._overwrite(slot, after.read(slot), written)
            return
        change = self.delta(after, slot)
        change = multiplier(change) if callable(multiplier) else WeightDelta(change.dense).scaled(multiplier)
        if change.left is not None and change.right is not None:
            self._branches.add(slot.module, FactoredBranch(self._spread(slot, change.left), change.right))
        if change.dense is None:
            return
        if tensor.dtype == torch.float32 or not isinstance(tensor, nn.Parameter):
            self._overwrite(slot, slot.view(tensor.data) + change.dense, written)
            return
        for name in self._branches.add_dense(slot, tensor, change.dense):
            if name not in wide:
                wide[name] = WideModule(self._modules[name])
            wide[name].add(slot, change.dense)

    def _overwrite(self, slot: WeightSlot, value: Tensor, written: list[WeightSlot]) -> None:
        """Writes a slot for a while; of an embedding or head only the rows that the model has now."""
        if slot.parameter not in self._hashes:
            self._hashes[slot.parameter] = tensor_hash(self.tensors[slot.parameter])
        written.append(slot)
        tensor = self.tensors[slot.parameter]
        n = min(len(tensor), len(value)) if slot.group in (EMBEDDING, LM_HEAD) else None
        if n is None:
            slot.write(tensor.data, value)
        else:
            tensor.data[:n] = value[:n].to(tensor)

    def _write(self, slot: WeightSlot, value: Tensor) -> None:
        """Writes a slot's whole weight, with as many rows as it has where it is the embedding or the head."""
        tensor = self.tensors[slot.parameter]
        if slot.layer is None and tensor.shape != value.shape:
            tensor.data = value.to(tensor, copy=True)
        else:
            slot.write(tensor.data, value)

    def _put_back(self, written: list[WeightSlot]) -> None:
        for slot in written:
            self._write(slot, self.state.read(slot))
        for parameter in dict.fromkeys(slot.parameter for slot in written):
            if tensor_hash(self.tensors[parameter]) != self._hashes[parameter]:
                message = "the weight that was put back is not the one that was there before the edit"
                fix = "run it again: the checkpoint's files have changed meanwhile"
                raise CheckpointError(message, where=self.state.path, tensor=parameter, fix=fix)

    def _factors(self, state: ModelState, slot: WeightSlot) -> list[tuple[Tensor, Tensor]]:
        """(scale * B, A) on a slot, in float32 on the device, B cut to the slot's rows."""
        if not state.adapters or len(slot.shape) != 2 or slot.attribute != "weight":
            return []
        return [
            (
                slot.part.take_rows(factors.B).to(self.device, torch.float32) * factors.scale,
                factors.A.to(self.device, torch.float32),
            )
            for factors in state.module_factors(slot.module)
        ]

    def _rows(self, slot: WeightSlot) -> Tensor:
        """Which rows of its module's output are the slot's, as a mask of ones."""
        return self._spread(slot, torch.ones(slot.shape[0], 1, device=self.device))

    def _spread(self, slot: WeightSlot, left: Tensor) -> Tensor:
        """A left factor of a slot as one of its whole module, zero in the rows of other slots."""
        if slot.part.rows is None:
            return left
        tensor = self.tensors[slot.parameter]
        rows = tensor.shape[-1] if slot.part.transposed else tensor.shape[-2]
        whole = left.new_zeros(rows, left.shape[1])
        if slot.part.groups == 1:
            whole[slice(*slot.part.rows)] = left
        else:
            stretches = torch.unflatten(whole, 0, (slot.part.groups, -1))
            stretches[:, slice(*slot.part.rows)] = torch.unflatten(left, 0, (slot.part.groups, -1))
        return whole


def _multiplier(multipliers: Multipliers, group: ParameterGroup) -> Multiplier:
    if isinstance(multipliers, Mapping):
        return multipliers.get(group.name, 0.0)
    return multipliers(group) if callable(multipliers) else multipliers


def _common_rows(new: Tensor, old: Tensor) -> Tensor:
    """new - old, with the rows of `old`; rows that `new` lacks are zero."""
    if new.shape == old.shape:
        return new - old
    change = torch.zeros_like(old)
    n = min(len(new), len(old))
    change[:n] = new[:n] - old[:n]
    return change


def fitting_precision(base: Checkpoint, *, memory: int) -> Precision:
    """float32 where a model of that precision takes at most `memory` bytes, else bfloat16.

    Args:
        base: the run's base; only headers are read.
        memory: bytes for the weights.
    """
    return "float32" if model_bytes(base, "float32") <= memory else "bfloat16"


def model_bytes(base: Checkpoint, precision: Precision) -> int:
    """Bytes that a checkpoint's weights take in memory in a precision."""
    entries = sum(torch.Size(base.info(name).shape).numel() for name in base.names)
    return entries * (4 if precision == "float32" else 2)


_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Float32 products without TF32, and deterministic kernels where they exist; restores the settings afterwards."""
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before: list[tuple[Any, str, Any]] = [
        (owner, name, getattr(owner, name))
        for owner, name in (
            (cuda, "allow_tf32"),
            (cuda, "allow_bf16_reduced_precision_reduction"),
            (cudnn, "allow_tf32"),
            (cudnn, "benchmark"),
        )
    ]
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    for owner, name, _ in before:
        setattr(owner, name, False)
    torch.use_deterministic_algorithms(True, warn_only=True)
    os.environ.setdefault(_WORKSPACE, ":4096:8")  # without it cuBLAS may choose another order of sums
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        for owner, name, value in before:
            setattr(owner, name, value)
