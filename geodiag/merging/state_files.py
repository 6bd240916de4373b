"""Checkpoints under construction: files of their final size, into which layer after layer is written in place.

No shard is ever held in memory, and no weight is written twice: each file starts with its header, holds a copy of the
bytes of every tensor that stays the base's, and gets every merged layer at the offset that the header gives it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geodiag.checkpoints import Checkpoint, Layer
from geodiag.checkpoints.layers import WHOLE, MatrixPart
from geodiag.checkpoints.range_file import DTYPES, READABLE, read_header

_CODES = {name: code for code, name in DTYPES.items()}
_CHUNK = 16 * 2**20
"""Bytes copied at a time."""


@dataclass(frozen=True)
class Slot:
    """Location of a tensor in a state's folder."""

    file: Path
    """The file, relative to the folder."""
    offset: int
    """Its first byte in that file."""
    size: int
    """Its size in bytes."""
    dtype: str
    """The type it is stored in, as torch names it."""
    shape: tuple[int, ...]
    """Its shape as stored."""


@dataclass(frozen=True)
class StateLayout:
    """The files of every state of a merge, which are those of the base: same names, tensors and shards."""

    base: Checkpoint
    """The checkpoint that the states start from."""
    headers: Mapping[Path, bytes]
    """The beginning of each file, up to its first weight."""
    slots: Mapping[str, Slot]
    """Every tensor by its name."""
    copied: tuple[str, ...]
    """Tensors that stay the base's, or that layers fill in part only."""

    @property
    def size(self) -> int:
        """Bytes of one state's weights."""
        return sum(map(len, self.headers.values())) + sum(slot.size for slot in self.slots.values())

    def create(self, folder: Path) -> None:
        """Write every file at its final size, with the copied tensors in it; layers are still missing."""
        for relative, header in self.headers.items():
            path = folder / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            slots = {name: slot for name, slot in self.slots.items() if slot.file == relative}
            with path.open("wb") as file:
                file.write(header)
                for name in (name for name in self.copied if name in slots):
                    file.seek(slots[name].offset)
                    file.writelines(self._base_bytes(name))
                file.truncate(max(slot.offset + slot.size for slot in slots.values()))
        if len(self.headers) > 1:
            (folder / "model.safetensors.index.json").write_text(self._index(), encoding="utf-8")

    def put(self, folder: Path, layer: Layer, weight: Tensor) -> None:
        """Write one layer's weight (d_out, d_in) at its offset; it is on the disk when this returns."""
        slot = self.slots[layer.tensor]
        path = folder / slot.file
        memory = np.memmap(path, dtype=np.uint8, mode="r+", offset=slot.offset, shape=(slot.size,))
        stored = torch.from_numpy(memory).view(getattr(torch, slot.dtype)).view(slot.shape)
        fill_part(stored, layer.part, weight.cpu())
        memory.flush()

    def _base_bytes(self, name: str) -> Iterator[bytes]:
        """The bytes of the base's tensor, converted to the type of the states."""
        info, file = self.base.tensors[name]
        if self.slots[name].dtype != info.dtype:
            converted = self.base.read(name).to(getattr(torch, self.slots[name].dtype)).contiguous()
            yield converted.view(-1).view(torch.uint8).numpy().tobytes()
            return
        span = read_header(file).tensors[name]
        with file.open("rb") as source:
            source.seek(span.start)
            for done in range(0, span.size, _CHUNK):
                yield source.read(min(_CHUNK, span.size - done))

    def _index(self) -> str:
        weight_map = {name: slot.file.as_posix() for name, slot in sorted(self.slots.items())}
        total = sum(slot.size for slot in self.slots.values())
        return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2) + "\n"


def fill_part(stored: Tensor, part: MatrixPart, weight: Tensor) -> None:
    """Write a layer's weight into the tensor that holds it, rounded to its type; the reverse of `MatrixPart.take`."""
    matrix = stored if part.expert is None else stored[part.expert]
    matrix = matrix.T if part.transposed else matrix
    if part.rows is None:
        matrix.copy_(weight)
    else:
        matrix[part.take_rows(torch.arange(len(matrix)))] = weight.to(matrix.dtype)


def state_layout(base: Checkpoint, layers: Sequence[Layer], *, dtype: str) -> StateLayout:
    """The files of states that start from a base.

    Args:
        base: the checkpoint, whose file names, tensors and shards the states have.
        layers: the layers that will be written.
        dtype: the type of all weights, or `base` for each its own. Quantised tensors and other types stay as they are.
    """
    folder = base.path if base.path.is_dir() else base.path.parent
    whole = {layer.tensor for layer in layers if layer.part == WHOLE}
    headers: dict[Path, bytes] = {}
    slots: dict[str, Slot] = {}
    for file in base.files:
        relative = file.relative_to(folder) if base.path.is_dir() else Path("model.safetensors")
        headers[relative], placed = _place(base, file, relative, dtype=dtype)
        slots |= placed
    return StateLayout(base, headers, slots, tuple(name for name in slots if name not in whole))


def _place(base: Checkpoint, file: Path, relative: Path, *, dtype: str) -> tuple[bytes, dict[str, Slot]]:
    """The header of one file and the slots of its tensors, widest types first, so that each starts aligned."""
    stored = read_header(file)
    names = [name for name, (_, held_in) in base.tensors.items() if held_in == file]
    types = {name: _type(base.info(name).dtype, dtype) for name in names}
    places: dict[str, tuple[int, int]] = {}
    end = 0
    for name in sorted(names, key=lambda name: (-_width(types[name]), name)):
        same = types[name] == base.info(name).dtype
        size = stored.tensors[name].size if same else math.prod(base.info(name).shape) * _width(types[name])
        places[name], end = (end, size), end + size
    entries: dict[str, object] = {"__metadata__": {"format": "pt", **stored.metadata}}
    for name, (start, size) in places.items():
        code = stored.tensors[name].code if types[name] == base.info(name).dtype else _CODES[types[name]]
        entries[name] = {"dtype": code, "shape": list(base.info(name).shape), "data_offsets": [start, start + size]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    slots = {
        name: Slot(relative, len(header) + start, size, types[name], base.info(name).shape)
        for name, (start, size) in places.items()
    }
    return header, slots


def _type(stored: str, wanted: str) -> str:
    return wanted if wanted != "base" and stored in READABLE else stored


def _width(dtype: str) -> int:
    """Bytes of one number; 1 for types that torch does not have."""
    number = getattr(torch, dtype, None)
    return number.itemsize if isinstance(number, torch.dtype) else 1


SIDE_FILES = (
    *("config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "spiece.model"),
    *("chat_template*", "*.tiktoken", "*.py"),
)
"""Files of a model other than its weights: its configuration, its tokenizer, and code that came along."""


def side_files(base: Checkpoint) -> list[Path]:
    """The base's files other than weights that every state gets a copy of, sorted."""
    if not base.path.is_dir():
        config = base.path.parent / "config.json"
        return [config] if config.is_file() else []
    matches = {path for pattern in SIDE_FILES for path in base.path.glob(pattern) if path.is_file()}
    return sorted(path for path in matches if path.suffix != ".safetensors" and os.access(path, os.R_OK))
