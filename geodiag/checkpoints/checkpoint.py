"""A checkpoint on disk, read one tensor at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geodiag.checkpoints.layers import MatrixPart
from geodiag.checkpoints.range_file import RangeFile
from geodiag.checkpoints.safetensors_file import Reading, TensorInfo, open_weights, readable
from geodiag.checkpoints.safetensors_header import READABLE
from geodiag.errors import CheckpointError

if TYPE_CHECKING:
    import torch


ENTRIES_AN_OPENING = 2**23
"""Entries that are read of a file before it is opened anew."""


@dataclass
class _Opened:
    """A file that is open, and how much of it was read since."""

    weights: Any
    entries_given: int = 0


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The weights of one model on disk. Opening one reads headers; only `read` touches a weight.

    It can be sent to other processes, and each opens the files for itself.
    """

    path: Path
    """The folder, or the single file."""
    config: Mapping[str, Any]
    """Its `config.json`; empty where there is none."""
    tensors: Mapping[str, tuple[TensorInfo, Path]]
    """What is stored of each tensor, and in which file."""
    reading: Reading = "mmap"
    """How weights are read from a local disk."""
    index: dict[str, tuple[str, MatrixPart]] = field(default_factory=dict, repr=False)
    """Filled by `geodiag.checkpoints.layer_weights.layer_index` when it is first asked for."""
    _handles: dict[Path, _Opened] = field(default_factory=dict, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tensors, as stored."""
        return tuple(self.tensors)

    @property
    def files(self) -> tuple[Path, ...]:
        """The safetensors files, sorted."""
        return tuple(sorted({file for _, file in self.tensors.values()}))

    def info(self, name: str) -> TensorInfo:
        """Shape and type of a tensor, known without reading it.

        Raises:
            CheckpointError: there is no such tensor.
        """
        return self._stored(name)[0]

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor.

        Args:
            name: its name as stored.

        Returns:
            The tensor on the CPU, in its stored shape and type; of a mapped file its memory is the file's.

        Raises:
            CheckpointError: there is no such tensor, it is quantised, or its file has become unreadable.
        """
        info, file = self._stored(name)
        check_readable(info, where=file, tensor=name)
        with readable(file):
            tensor: torch.Tensor = self._weights(file, entries=prod(info.shape)).get_tensor(name)
        return tensor

    def read_part(self, name: str, part: MatrixPart) -> torch.Tensor:
        """Read one part of a tensor: of a file that is not mapped, that part's bytes alone where they lie together.

        Args:
            name: the tensor's name as stored.
            part: which part of it.

        Raises:
            CheckpointError: as `read`.
        """
        info, file = self._stored(name)
        check_readable(info, where=file, tensor=name)
        with readable(file):
            weights = self._weights(file, entries=prod(info.shape))
            if isinstance(weights, RangeFile) and part.expert is not None:
                stacked = weights.get_rows(name, part.expert, part.expert + 1)
                return replace(part, expert=None).take(stacked[0])
            if isinstance(weights, RangeFile) and part.rows is not None and part.groups == 1 and not part.transposed:
                start, stop, _ = slice(*part.rows).indices(info.shape[0])
                return weights.get_rows(name, start, stop)
            return part.take(weights.get_tensor(name))

    def _stored(self, name: str) -> tuple[TensorInfo, Path]:
        if name not in self.tensors:
            raise CheckpointError("there is no such tensor", where=self.path, tensor=name)
        return self.tensors[name]

    def _weights(self, file: Path, *, entries: int) -> Any:
        # One open file a checkpoint: layers come shard by shard, and parsing the header of a model with
        # thousands of experts anew for each tensor takes longer than reading it. It is opened anew now and then:
        # pages of a mapped file that were read count as the process's memory for as long as it is mapped.
        found = self._handles.get(file)
        mapped = found is not None and not isinstance(found.weights, RangeFile)
        if found is None or (mapped and found.entries_given > ENTRIES_AN_OPENING):
            found = _Opened(open_weights(file, reading=self.reading))
            self._handles.clear()
            self._handles[file] = found
        found.entries_given += entries
        return found.weights

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}}


def check_readable(info: TensorInfo, *, where: Path, tensor: str, method: str | None = None) -> None:
    """Refuse a tensor whose stored numbers are not the weights themselves.

    Args:
        info: what its header says.
        where: the file or folder, for the error.
        tensor: its name, for the error.
        method: the quantisation method, where it is known.

    Raises:
        CheckpointError: the type is not one of float16, bfloat16, float32, float64.
    """
    if info.dtype not in READABLE:
        by = f" (quantised with {method})" if method else ""
        what = f"stored as {info.dtype}{by}, which cannot be compared"
        fix = "bring the checkpoint in bfloat16, float16, float32 or float64"
        raise CheckpointError(what, where=where, tensor=tensor, fix=fix)


def check_shape(found: tuple[int, ...], right: tuple[int, ...], *, where: Path, tensor: str, of: str = "base") -> None:
    """Refuse a tensor that is not of the base's shape.

    Args:
        found: its shape.
        right: the shape it should have.
        where: the folder, for the error.
        tensor: its name, for the error.
        of: what asks for that shape.

    Raises:
        CheckpointError: the shapes differ.
    """
    if found != right:
        verb = "has" if of == "base" else "ask for"
        what = f"shape {_by(found)} where the {of} {verb} {_by(right)}"
        fix = "give a checkpoint of the base's own size" if of == "base" else "give the base it was trained on"
        raise CheckpointError(what, where=where, tensor=tensor, fix=fix)


def check_finite(weight: torch.Tensor, checkpoint: Checkpoint, name: str) -> None:
    """Refuse a tensor with NaN or infinities.

    Args:
        weight: the tensor, or the part of it that is used.
        checkpoint: where it comes from, for the error.
        name: its name.

    Raises:
        CheckpointError: it holds one; the error counts them.
    """
    import torch

    # One pass without a copy: minimum and maximum are NaN or infinite as soon as one number is. Counting
    # with isfinite takes some forty times longer, so it waits for a reason.
    low, high = torch.aminmax(weight)
    if not (torch.isfinite(low) and torch.isfinite(high)):
        n_nan, n_inf = int(weight.isnan().sum()), int(weight.isinf().sum())
        what = f"{n_nan} NaN and {n_inf} infinite of {weight.numel()} numbers"
        file = checkpoint.tensors[name][1]
        fix = "the checkpoint comes from a diverged or broken run; use an earlier one"
        raise CheckpointError(what, where=file, tensor=name, fix=fix)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
