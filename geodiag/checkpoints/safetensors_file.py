"""One safetensors file: its header without its weights, and one weight at a time."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from geodiag.checkpoints.dtypes import dtype_name
from geodiag.errors import CheckpointError

_LENGTH_BYTES = 8
"""A file starts with the length of its header, a little-endian 64-bit integer."""


@dataclass(frozen=True)
class TensorInfo:
    """What a header says about a tensor."""

    shape: tuple[int, ...]
    """Its shape as stored."""
    dtype: str
    """Its type as torch names it, such as "bfloat16"."""


def read_infos(path: Path) -> dict[str, TensorInfo]:
    """Shape and type of every tensor of a file, from its header alone.

    Args:
        path: the file.

    Raises:
        CheckpointError: the file is missing, truncated, damaged, or something else by that name.
    """
    with readable(path), safe_open(path, framework="numpy") as file:  # numpy: torch is not needed yet
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        return {
            name: TensorInfo(tuple(part.get_shape()), dtype_name(part.get_dtype())) for name, part in slices.items()
        }


def open_weights(path: Path) -> Any:
    """The file opened for `get_tensor(name)`, which gives torch tensors on the CPU."""
    with readable(path):
        return safe_open(path, framework="pt")


def header_bytes(path: Path) -> bytes:
    """The raw header: names, types, shapes and offsets of all tensors."""
    with readable(path), path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(_LENGTH_BYTES))
        if length > path.stat().st_size:
            raise SafetensorError("invalid header length")
        return file.read(length)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns whatever reading a safetensors file raises into a CheckpointError that names the file."""
    try:
        yield
    except (SafetensorError, OSError, struct.error, MemoryError) as error:
        what, fix = _diagnosis(path, error)
        raise CheckpointError(what, where=path, fix=fix) from error


_STRANGERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the weights", "run `git lfs pull` in its folder"),
    (b"PK\x03\x04", "a PyTorch zip file, not safetensors", "convert it to safetensors"),
    (b"\x80\x02", "a Python pickle, not safetensors", "convert it to safetensors"),
    (b"\x80\x04", "a Python pickle, not safetensors", "convert it to safetensors"),
    (b"GGUF", "a GGUF file, not safetensors", "bring the checkpoint in safetensors"),
    (b"<", "a web page or XML, not safetensors", "download the file again"),
)
"""First bytes of files that end up under a safetensors name."""


def _diagnosis(path: Path, error: Exception) -> tuple[str, str]:
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError as failure:
        return f"cannot be read ({failure.strerror})", "check that the file is there and may be read"
    if not start:
        return "the file is empty", "copy or download it again"
    for first, what, fix in _STRANGERS:
        if start.startswith(first):
            return what, fix
    reason = str(error).rpartition("header: ")[2][:160]
    return f"truncated or damaged safetensors file ({reason})", "copy or download it again"
