"""A safetensors file read by ranges: exactly a tensor's bytes, by plain reads or over the network.

A mapped file is best on a local disk. On a network file system every page of a map is a request of its own, and a
remote file cannot be mapped at all; there each tensor is one read of its stretch of the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from geodiag.checkpoints.safetensors_header import ITEM_BYTES, dtype_name
from geodiag.common.remote import RemotePath, unreachable
from geodiag.errors import CheckpointError

if TYPE_CHECKING:
    import torch

_LENGTH_BYTES = 8
"""A file starts with the length of its header, a little-endian 64-bit integer."""
_MOST_HEADER_BYTES = 100_000_000
"""The format's own limit."""


@dataclass(frozen=True)
class Stretch:
    """Where a tensor lies in a file, and as what."""

    shape: tuple[int, ...]
    """Its shape as stored."""
    dtype: str
    """Its type as torch names it."""
    start: int
    """The first of its bytes, counted from the start of the file."""


class RangeFile:
    """A file opened for `get_tensor` and `get_rows`; each reads the bytes that it needs and no others.

    Args:
        path: the file, or its address.

    Raises:
        SafetensorError, OSError: it is no safetensors file, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stretches = read_stretches(path)

    def get_tensor(self, name: str) -> torch.Tensor:
        """One tensor whole."""
        shape = self._stretches[name].shape
        return self.get_rows(name, 0, shape[0] if shape else 1).reshape(shape)

    def get_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """A stretch of a tensor along its first dimension."""
        import torch

        found = self._stretches[name]
        shape, dtype = (stop - start, *found.shape[1:]), getattr(torch, found.dtype)
        if not math.prod(shape):
            return torch.empty(shape, dtype=dtype)
        row = ITEM_BYTES[found.dtype] * math.prod(found.shape[1:])
        data = _read_range(self._path, found.start + start * row, (stop - start) * row)
        return torch.frombuffer(data, dtype=dtype).reshape(shape)


def read_stretches(path: Path) -> Mapping[str, Stretch]:
    """Where each tensor of a file lies, from its header alone.

    Raises:
        SafetensorError, OSError: it is no safetensors file, or cannot be read.
    """
    header = header_bytes(path)
    first = _LENGTH_BYTES + len(header)
    try:
        found = json.loads(header)
        return {name: _stretch(info, first) for name, info in found.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SafetensorError(f"header: {type(error).__name__} {error}") from error


def header_bytes(path: Path) -> bytes:
    """The raw header: names, types, shapes and offsets of all tensors.

    Raises:
        SafetensorError, OSError: it has none, or cannot be read.
    """
    if isinstance(path, RemotePath):
        with path.ranges() as file:  # unlike a single request, it minds a server that sends the file whole
            return _header(file, path, _MOST_HEADER_BYTES)
    with path.open("rb") as file:
        return _header(file, path, min(_MOST_HEADER_BYTES, path.stat().st_size))


def _header(file: Any, path: Path, most: int) -> bytes:
    try:
        start = file.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if len(start) < _LENGTH_BYTES or length > most:
            raise SafetensorError("invalid header length")
        header = bytes(file.read(length))
    except (SafetensorError, CheckpointError):
        raise
    except Exception as error:
        if isinstance(path, RemotePath):
            raise unreachable(path, error) from error
        raise
    if len(header) < length:
        raise SafetensorError("header is cut off")
    return header


def _stretch(info: Mapping[str, Any], first: int) -> Stretch:
    shape, dtype = tuple(map(int, info["shape"])), dtype_name(info["dtype"])
    start, stop = info["data_offsets"]
    if dtype in ITEM_BYTES and stop - start != ITEM_BYTES[dtype] * math.prod(shape):
        raise ValueError("offsets do not fit the shape")
    return Stretch(shape, dtype, first + start)


def _read_range(path: Path, start: int, count: int) -> bytearray:
    if isinstance(path, RemotePath):
        return bytearray(path.read_range(start, count))
    data = bytearray(count)
    view, done = memoryview(data), 0
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while done < count:
            got = file.readinto(view[done:])
            if not got:
                raise SafetensorError(f"{count - done} bytes are missing")
            done += got
    return data


def first_bytes(path: Path, count: int) -> bytes:
    """Up to so many bytes from the start of a file."""
    with path.ranges() if isinstance(path, RemotePath) else path.open("rb") as file:
        return bytes(file.read(count))
