"""Parameter groups of a model that runs: the units in which losses are allocated and updates are edited."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from geodiag.checkpoints import Checkpoint, Layer, MatrixPart, TensorInfo, match_layers
from geodiag.checkpoints.tensor_names import why_left_out

EMBEDDING, LM_HEAD, NORM, BIAS, OTHER = "embedding", "lm_head", "norm", "bias", "other"
"""Names of the groups that take a whole model's weights of one kind; each is its own family."""
ROUTER, EXPERTS = "router", "experts"
"""Families of the two groups that a block with experts has beside its matrices."""

_BLOCK = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.([0-9]{1,6})\.")
_WHOLE = MatrixPart()
_HASHED_AT_ONCE = 2**22
_WIDTHS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_ODD = (0x9E3779B97F4A7C15 - 2**64, 0xC2B2AE3D27D4EB4F - 2**64)


@dataclass(frozen=True)
class WeightSlot:
    """One tensor of a model that runs, or the part of it that is one target matrix."""

    group: str
    """The name of its group."""
    parameter: str
    """The tensor's name in the model, as `named_parameters` and `named_buffers` have it."""
    shape: tuple[int, ...]
    """Of the part: (d_out, d_in) of a matrix, however the tensor stores it."""
    layer: Layer | None = None
    """The target matrix; None where the slot is a whole tensor of another kind."""

    @property
    def part(self) -> MatrixPart:
        """Which part of the tensor it is."""
        return _WHOLE if self.layer is None else self.layer.part

    @property
    def module(self) -> str:
        """The module that owns the tensor."""
        return self.parameter.rpartition(".")[0]

    @property
    def attribute(self) -> str:
        """The tensor's name in its module, such as `weight`."""
        return self.parameter.rpartition(".")[2]

    def view(self, tensor: Tensor) -> Tensor:
        """The part of a tensor with the layout of the model's; a view, but for rows of several stretches."""
        return tensor if self.layer is None else self.part.take(tensor)

    def write(self, tensor: Tensor, value: Tensor) -> None:
        """Writes the part into a tensor with the layout of the model's, in place.

        Args:
            tensor: the whole tensor.
            value: of the slot's shape, in any dtype.
        """
        if self.part.groups == 1:
            self.view(tensor).copy_(value)
            return
        matrix = tensor if self.part.expert is None else tensor[self.part.expert]
        matrix = matrix.T if self.part.transposed else matrix
        assert self.part.rows is not None
        rows = slice(*self.part.rows)
        stretches = torch.unflatten(matrix, 0, (self.part.groups, -1))
        stretches[:, rows].copy_(torch.unflatten(value, 0, (self.part.groups, -1)))


@dataclass(frozen=True)
class ParameterGroup:
    """Weights that are allocated and edited as one."""

    name: str
    """A target matrix's canonical layer name (`model.layers.0.self_attn.q_proj`), `model.layers.0.mlp.experts`,
    `model.layers.0.mlp.router`, or one of embedding, lm_head, norm, bias, other."""
    block: int | None
    """The number of its block; None of groups of the whole model."""
    family: str
    """A projection family, or embedding, lm_head, norm, bias, other, router, experts."""
    slots: tuple[WeightSlot, ...]
    """Its tensors, or the parts of them, in the model's order."""

    @property
    def entries(self) -> int:
        """How many numbers it holds."""
        return sum(torch.Size(slot.shape).numel() for slot in self.slots)


def parameter_groups(model: nn.Module) -> dict[str, ParameterGroup]:
    """The groups of a causal language model, by name: every number of its state is in exactly one of them.

    Target matrices are found as `match_layers` finds them in a checkpoint, whatever families a run selects; fused
    weights fall into their matrices by rows. All experts of a block are one group, and its router another. A head
    tied to the embedding is part of `embedding`.

    Raises:
        CheckpointError: no projection was found.
    """
    tensors = dict(state_tensors(model))
    dtype = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
    infos = {name: (TensorInfo(tuple(t.shape), dtype[name]), Path(name)) for name, t in tensors.items()}
    table = match_layers(Checkpoint(Path("model"), model.config.to_dict(), infos))  # type: ignore[operator, union-attr]
    by_tensor: dict[str, list[Layer]] = {}
    for layer in table.layers:
        by_tensor.setdefault(layer.tensor, []).append(layer)
    groups: dict[str, tuple[int | None, str, list[WeightSlot]]] = {}
    kinds = _kinds_by_module(model)
    for name, tensor in tensors.items():
        for group, block, family, slot in _slots(name, tensor, by_tensor.get(name, []), kinds):
            groups.setdefault(group, (block, family, []))[2].append(slot)
    made = {name: ParameterGroup(name, block, family, tuple(s)) for name, (block, family, s) in groups.items()}
    order = [layer.name for layer in table.layers]
    place = {name: n for n, name in enumerate(order)}
    return dict(sorted(made.items(), key=lambda item: place.get(item[0], len(order))))


def state_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and stored buffers of a model by name, a tied one once."""
    stored = set(model.state_dict(keep_vars=True))
    seen: set[int] = set()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in stored and id(tensor) not in seen and tensor.is_floating_point():
            seen.add(id(tensor))
            yield name, tensor


def _kinds_by_module(model: nn.Module) -> Mapping[int, str]:
    """The group of the embedding's and the head's weight, by the identity of the tensor; tied: the embedding's."""
    kinds: dict[int, str] = {}
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()  # type: ignore[operator]
    if head is not None:
        kinds[id(head.weight)] = LM_HEAD
    kinds[id(embedding.weight)] = EMBEDDING
    return kinds


_Placed = tuple[str, int | None, str, WeightSlot]


def _slots(name: str, tensor: Tensor, layers: list[Layer], kinds: Mapping[int, str]) -> Iterator[_Placed]:
    for layer in layers:
        shape = (layer.d_out, layer.d_in)
        if ".experts." in layer.name:
            group, family = layer.name[: layer.name.index(".experts.")] + ".experts", EXPERTS
        else:
            group, family = layer.name, layer.family
        yield group, layer.block, family, WeightSlot(group, name, shape, layer)
    if not layers:
        group, block, family = _other_group(name, tensor, kinds)
        yield group, block, family, WeightSlot(group, name, tuple(tensor.shape))


def _other_group(name: str, tensor: Tensor, kinds: Mapping[int, str]) -> tuple[str, int | None, str]:
    if id(tensor) in kinds:
        return (kinds[id(tensor)], None, kinds[id(tensor)])
    why, block = why_left_out(name), _BLOCK.search(name)
    if why == "router" and block:
        return f"model.layers.{int(block[1])}.mlp.{ROUTER}", int(block[1]), ROUTER
    if why == "expert" and block:  # such as the biases of stacked experts
        return f"model.layers.{int(block[1])}.mlp.{EXPERTS}", int(block[1]), EXPERTS
    family = {"norm": NORM, "bias": BIAS, "embedding": EMBEDDING}.get(why, OTHER)
    return family, None, family


def tensor_hash(tensor: Tensor) -> str:
    """32 hexadecimal digits that tell two tensors of one shape and dtype apart, bit by bit.

    Two sums modulo 2^64 of every entry's bits times an odd number of its place: any change of one entry changes them.
    Whole numbers add up in any order, so that every device gives the same.

    Args:
        tensor: of any shape and floating dtype.
    """
    flat = tensor.detach().contiguous().view(-1).view(_WIDTHS[tensor.element_size()])
    sums = [0, 0]
    for start in range(0, len(flat), _HASHED_AT_ONCE):
        bits = flat[start : start + _HASHED_AT_ONCE].long()
        place = torch.arange(start, start + len(bits), device=bits.device, dtype=torch.long)
        for n, odd in enumerate(_ODD):
            weights = (place * odd) ^ ((place * odd) >> 29) | 1
            sums[n] = (sums[n] + int((bits * weights).sum())) % 2**64
    return "".join(f"{value:016x}" for value in sums)
