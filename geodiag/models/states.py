"""States of a run as a running model needs them: whole weights, adapters on top, and the change between two states."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from geodiag.checkpoints import Adapter, Checkpoint, Factors, ModelWeights
from geodiag.checkpoints.adapter_files import sort_tensors
from geodiag.checkpoints.architectures import LEFT_OUT, TOWERS
from geodiag.checkpoints.tensor_names import other_names
from geodiag.checkpoints.unsupported import check_finite
from geodiag.errors import CheckpointError
from geodiag.models.groups import EMBEDDING, LM_HEAD, WeightSlot

_WRAPPED = re.compile(r"^(?:base_model\.model\.)|\.modules_to_save(?:\.[^.]+)?(?=\.)|\.base_layer(?=\.)")


@dataclass(frozen=True)
class WeightDelta:
    """Change of one slot's weight: Delta = dense + left @ right, each part optional; none of both is no change."""

    dense: Tensor | None = None
    """The slot's shape, float32."""
    left: Tensor | None = None
    """(d_out, r), float32."""
    right: Tensor | None = None
    """(r, d_in), float32."""

    def scaled(self, factor: float) -> WeightDelta:
        """factor * Delta."""
        dense, left = (None if part is None else part * factor for part in (self.dense, self.left))
        return WeightDelta(dense, left, self.right)

    def on_inputs(self, map_rows: Callable[[Tensor], Tensor]) -> WeightDelta:
        """Delta with a linear map of the input side applied, such as Delta (I - V V').

        Args:
            map_rows: takes (n, d_in) and gives (n, d_in); it is applied to `dense` and to `right`.
        """
        dense, right = (None if part is None else map_rows(part) for part in (self.dense, self.right))
        return WeightDelta(dense, self.left, right)

    def of(self, inputs: Tensor) -> Tensor | None:
        """Delta x for every row x of `inputs` (..., d_in), in their dtype; None where there is no change."""
        products = []
        if self.dense is not None:
            products.append(inputs @ self.dense.T.to(inputs.dtype))
        if self.left is not None and self.right is not None:
            products.append((inputs @ self.right.T.to(inputs.dtype)) @ self.left.T.to(inputs.dtype))
        return sum(products[1:], start=products[0]) if products else None

    def to_dense(self, shape: tuple[int, ...]) -> Tensor:
        """Delta in float32, zeros where there is no change."""
        if self.left is not None and self.right is not None:
            product = self.left @ self.right
            return product if self.dense is None else self.dense + product
        return torch.zeros(shape) if self.dense is None else self.dense

    def squared_norm(self) -> float:
        """||Delta||_F^2, in float64; factors are not multiplied out unless a dense part lies beside them."""
        if self.left is not None and self.right is not None and self.dense is None:
            left, right = self.left.double(), self.right.double()
            return float(((left.T @ left) * (right @ right.T)).sum())
        if self.dense is None and self.left is None:
            return 0.0
        return float(self.to_dense(()).double().square().sum())


class AdapterWeights:
    """All that one adapter changes in a model that runs, by the model's own names."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        sorted_tensors = sort_tensors(adapter.weights)
        lora = [left for left in sorted_tensors.left_out if left.why == "embedding"]
        if lora:
            message = "changes single embeddings or holds factors of an embedding, which cannot be run beside the model"
            raise CheckpointError(message, where=adapter.path, tensor=lora[0].name, fix="merge it into its base first")
        self.factors: Mapping[str, Mapping[str, str]] = sorted_tensors.factors
        """Module -> side -> tensor."""
        biases = [left.name for left in sorted_tensors.left_out if left.why == "bias"]
        self.whole: Mapping[str, str] = {
            _WRAPPED.sub("", name): tensor
            for name, tensor in (*sorted_tensors.whole.items(), *((name, name) for name in biases))
        }
        """Tensor of the model -> tensor of the adapter that replaces it."""

    def module_factors(self, module: str) -> Factors | None:
        """The factors on a module's whole output, or None."""
        names = (name.removesuffix(".weight") for name in _names(f"{module}.weight"))
        path = next((name for name in names if name in self.factors), None)
        if path is None:
            return None
        B, A = (self._read(self.factors[path][side]) for side in "BA")
        return Factors(B, A, self.adapter.settings.scale(path))

    def whole_tensor(self, name: str) -> str | None:
        """The adapter's tensor that replaces a tensor of the model, or None."""
        return next((self.whole[other] for other in _names(name) if other in self.whole), None)

    def _read(self, tensor: str) -> Tensor:
        value = self.adapter.weights.read(tensor)
        check_finite(value, where=self.adapter.weights.tensors[tensor][1], tensor=tensor)
        return value


@dataclass(frozen=True, eq=False)
class ModelState:
    """One state of a run: whole weights and the adapters on top of them, in order; nothing is read yet."""

    whole: Checkpoint
    """The weights below."""
    adapters: tuple[AdapterWeights, ...] = ()
    """Adapters as side branches, the lowest first."""

    @property
    def path(self) -> Path:
        """Where the state lies: the top adapter's folder, or the checkpoint."""
        return self.adapters[-1].adapter.path if self.adapters else self.whole.path

    def source(self, slot: WeightSlot) -> tuple[Checkpoint, str]:
        """The file set and the tensor that a slot's whole weight is read from.

        Raises:
            CheckpointError: there is no such tensor.
        """
        for adapter in reversed(self.adapters):
            tensor = adapter.whole_tensor(slot.parameter)
            if tensor is not None:
                return adapter.adapter.weights, tensor
        if slot.layer is not None:
            match = self.whole.find_layer(slot.layer)
            if match is not None:
                return self.whole, match[0]
        tensor = next((name for name in _names(slot.parameter) if name in self.whole.tensors), None)
        tensor = tensor or self._same_kind(slot)
        if tensor is None:
            message = f"the weight {slot.parameter} of the model is not there"
            raise CheckpointError(message, where=self.whole.path, fix="save the checkpoint with all its weights")
        return self.whole, tensor

    def _same_kind(self, slot: WeightSlot) -> str | None:
        """The one tensor outside of blocks that is a slot's by its ending or kind, whatever its name otherwise."""
        heads = [name for name in self.whole.names if LEFT_OUT["head"].search(name)]
        embeddings = [name for name in self.whole.names if LEFT_OUT["embedding"].search(name) and name not in heads]
        kind = {LM_HEAD: heads, EMBEDDING: embeddings}.get(slot.group, [])
        named = [name for name in self.whole.names if name.split(".")[-2:] == slot.parameter.split(".")[-2:]]
        for fits in (named, kind):
            outside = [name for name in fits if not TOWERS.search(name)]
            if len(outside) == 1:
                return outside[0]
        return None

    def shares(self, other: ModelState, slot: WeightSlot) -> bool:
        """Whether two states read a slot's whole weight from the same tensor of the same file."""
        (mine, name), (theirs, other_name) = self.source(slot), other.source(slot)
        return name == other_name and mine.tensors[name][1] == theirs.tensors[other_name][1]

    def read(self, slot: WeightSlot) -> Tensor:
        """A slot's whole weight, without factors, on the CPU in its stored dtype.

        Of the embedding and the head there may be more rows or fewer than the model has.

        Raises:
            CheckpointError: it is missing, of another shape, or holds NaN or infinities.
        """
        weights, tensor = self.source(slot)
        if slot.layer is not None and weights is self.whole:
            return self.whole.read_layer(slot.layer)
        value = slot.part.take(weights.read(tensor)) if slot.layer is not None else weights.read(tensor)
        rows_may_differ = slot.group in (EMBEDDING, LM_HEAD)
        if tuple(value.shape[rows_may_differ:]) != slot.shape[rows_may_differ:]:
            message = f"its shape is {list(value.shape)}, and the model's is {list(slot.shape)}"
            raise CheckpointError(
                message, where=weights.path, tensor=tensor, fix="give a state of the base's own shape"
            )
        check_finite(value, where=weights.path, tensor=tensor)
        return value

    def module_factors(self, module: str) -> list[Factors]:
        """The factors on a module, of every adapter above the last one that replaces its weight."""
        stack: list[Factors] = []
        for adapter in self.adapters:
            if adapter.whole_tensor(f"{module}.weight") is not None:
                stack.clear()
            factors = adapter.module_factors(module)
            stack += [] if factors is None else [factors]
        return stack

    def check_used(self, slots: Iterable[WeightSlot], modules: Iterable[str]) -> None:
        """Refuses an adapter that changes what the model does not have, such as a head of its own on a tied one.

        Raises:
            CheckpointError: names the tensor.
        """
        parameters = {name for slot in slots for name in _names(slot.parameter)}
        places = {name.removesuffix(".weight") for module in modules for name in _names(f"{module}.weight")}
        for adapter in self.adapters:
            apart = [name for name in adapter.whole if name not in parameters and not _tied_copy(adapter, name)]
            apart += [module for module in adapter.factors if module not in places]
            if apart:
                message = "the adapter changes a weight that the model that runs does not have apart from others"
                fix = "merge it into its base first"
                raise CheckpointError(message, where=adapter.adapter.path, tensor=apart[0], fix=fix)


def model_state(weights: ModelWeights, *, base: Checkpoint) -> ModelState:
    """The state that opened weights mean.

    Args:
        weights: as `PreparedRun.checkpoints` holds them: a checkpoint, or an adapter of the base.
        base: the run's base.

    Raises:
        CheckpointError: an adapter changes something that cannot be run as a side branch.
    """
    if isinstance(weights, Adapter):
        return ModelState(base, (AdapterWeights(weights),))
    assert isinstance(weights, Checkpoint)
    return ModelState(weights)


def _tied_copy(adapter: AdapterWeights, name: str) -> bool:
    """Whether a saved tensor is a head with the numbers of the embedding saved beside it, as PEFT saves tied ones."""
    embedding = next((tensor for other, tensor in adapter.whole.items() if LEFT_OUT["embedding"].search(other)), None)
    if embedding is None or not LEFT_OUT["head"].search(name):
        return False
    weights = adapter.adapter.weights
    return torch.equal(weights.read(adapter.whole[name]), weights.read(embedding))


def _names(tensor: str) -> tuple[str, ...]:
    """The names under which a tensor of the model may be saved, its own first."""
    names = (tensor, *other_names(tensor))
    return (*names, *(name.replace(".mlp.", ".block_sparse_moe.") for name in names if ".mlp." in name))
