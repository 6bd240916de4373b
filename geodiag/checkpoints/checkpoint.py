"""A checkpoint on disk, read one tensor at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from geodiag.checkpoints.layers import Layer, MatrixPart
from geodiag.checkpoints.range_file import RangeFile
from geodiag.checkpoints.safetensors_file import Reading, TensorInfo, open_weights, readable
from geodiag.checkpoints.tensor_names import naming_of, other_names, text_config
from geodiag.checkpoints.unsupported import check_finite, check_readable, check_shape, quantisation
from geodiag.errors import CheckpointError

if TYPE_CHECKING:
    import torch


ENTRIES_AN_OPENING = 2**23
"""Entries read of a mapped file before it is opened again."""


@dataclass
class _Opened:
    """An open file, and the number of entries read since it was opened."""

    weights: Any
    entries_read: int = 0


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
    """Shape and dtype of each tensor, and its file."""
    reading: Reading = "mmap"
    """How weights are read from a local disk."""
    kind: ClassVar[Literal["checkpoint"]] = "checkpoint"
    """As in `ModelWeights`."""
    _projections: dict[str, tuple[str, MatrixPart]] = field(default_factory=dict, repr=False)
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
        """Shape and dtype of a tensor, from its header.

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

    @property
    def projections(self) -> Mapping[str, tuple[str, MatrixPart]]:
        """Canonical layer name -> the tensor that holds it and the part of that tensor; made on first use.

        A fused tensor whose rows do not divide as the configuration says is left out here; `match_layers` raises the
        error.
        """
        if not self._projections:
            site_of, config = naming_of(self.config)[1], text_config(self.config)
            for name, (info, _) in self.tensors.items():
                site = site_of(name)
                try:
                    projections = [] if site is None else list(site.projections(info.shape, config))
                except ValueError:
                    projections = []
                for projection in projections:
                    self._projections.setdefault(projection.layer, (name, projection.part))
        return self._projections

    def find_layer(self, layer: Layer) -> tuple[str, MatrixPart] | None:
        """The tensor and the part of it that hold a layer of the base; None when there is none.

        Looked up under the base's own tensor name, then under the names that other prefixes give, and last by the
        canonical layer name: the same experts may be saved one by one in one checkpoint and stacked in another.

        Args:
            layer: the layer, as the base has it.
        """
        if layer.tensor in self.tensors:
            return layer.tensor, layer.part
        name = next((name for name in other_names(layer.tensor) if name in self.tensors), None)
        return (name, layer.part) if name is not None else self.projections.get(layer.name)

    def holds(self, _layer: Layer) -> Literal["whole"]:
        """`whole`: a checkpoint has the weight of every layer."""
        return "whole"

    def check(self, layer: Layer) -> None:
        """Check from headers alone that a layer is there, in the base's shape and a readable dtype.

        Raises:
            CheckpointError: the tensor is missing, has another shape or is quantised.
        """
        self._checked_tensor(layer)

    def read_layer(self, layer: Layer, *, check: bool = True) -> torch.Tensor:
        """Read one target layer.

        Args:
            layer: the layer, as the base has it; this checkpoint may have been saved with other names.
            check: whether to refuse numbers that are not finite, which takes one pass over them.

        Returns:
            (d_out, d_in) on the CPU, in the stored dtype.

        Raises:
            CheckpointError: the tensor is missing, has another shape or is quantised, or (with `check`) holds NaN
                or infinities.
        """
        name, part = self._checked_tensor(layer)
        weight = self.read_part(name, part)
        if check:
            check_finite(weight, where=self.tensors[name][1], tensor=name)
        return weight

    def _checked_tensor(self, layer: Layer) -> tuple[str, MatrixPart]:
        match = self.find_layer(layer)
        if match is None:
            message = "the tensor is missing here and present in the base"
            fix = "give a checkpoint of the base's own architecture, with all its weights"
            raise CheckpointError(message, where=self.path, tensor=layer.tensor, fix=fix)
        name, part = match
        info, _ = self.tensors[name]
        check_readable(info, where=self.path, tensor=name, method=quantisation(self.config))
        check_shape(part.shape(info.shape), (layer.d_out, layer.d_in), where=self.path, tensor=name)
        return match

    def _stored(self, name: str) -> tuple[TensorInfo, Path]:
        if name not in self.tensors:
            raise CheckpointError("there is no such tensor", where=self.path, tensor=name)
        return self.tensors[name]

    def _weights(self, file: Path, *, entries: int) -> Any:
        # One open file a checkpoint: layers come shard by shard, and parsing the header of a model with
        # thousands of experts anew for each tensor takes longer than reading it. It is opened anew now and then:
        # pages of a mapped file that were read count as the process's memory for as long as it is mapped.
        opened = self._handles.get(file)
        mapped = opened is not None and not isinstance(opened.weights, RangeFile)
        if opened is None or (mapped and opened.entries_read > ENTRIES_AN_OPENING):
            opened = _Opened(open_weights(file, reading=self.reading))
            self._handles.clear()
            self._handles[file] = opened
        opened.entries_read += entries
        return opened.weights

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}}
