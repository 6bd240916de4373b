"""Safetensors files by byte ranges: their header, and exactly the bytes of a tensor."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from geodiag.common.remote import RemotePath, unreachable
from geodiag.errors import CheckpointError

if TYPE_CHECKING:
    import torch


DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F6_E2M3": "float6_e2m3",
    "F6_E3M2": "float6_e3m2",
    "F4": "float4_e2m1",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
"""Code in the header -> the name of the dtype in torch."""

ITEM_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of one number, of the dtypes that are read."""

READABLE = frozenset(ITEM_BYTES)
"""Dtypes in which a stored number is the weight itself. The others are quantised (the weight is a number times
a scale kept elsewhere) or are no weights."""

_LENGTH_BYTES = 8
"""A file starts with the length of its header, a little-endian 64-bit integer."""
_MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""


def dtype_name(code: str) -> str:
    """The name of a dtype from its code in a header; an unknown code is its own name, in lower case."""
    return DTYPES.get(code, code.lower())


@dataclass(frozen=True)
class TensorSpan:
    """Shape, dtype and byte range of a tensor in a file."""

    shape: tuple[int, ...]
    """Its shape as stored."""
    code: str
    """Its dtype as the header writes it, such as "BF16"."""
    start: int
    """Its first byte, counted from the start of the file."""
    size: int
    """Its bytes."""

    @property
    def dtype(self) -> str:
        """Its dtype as torch names it."""
        return dtype_name(self.code)


@dataclass(frozen=True)
class SafetensorsHeader:
    """The parsed header of one file."""

    metadata: Mapping[str, str]
    """The free text that writers put in, such as {"format": "pt"}."""
    tensors: Mapping[str, TensorSpan]
    """Every tensor by its name."""


def read_header(path: Path) -> SafetensorsHeader:
    """Parse the header of a file.

    Raises:
        SafetensorError, OSError: it is no safetensors file, or cannot be read.
    """
    raw = header_bytes(path)
    data_start = _LENGTH_BYTES + len(raw)
    try:
        entries = json.loads(raw)
        tensors = {name: _span(entry, data_start) for name, entry in entries.items() if name != "__metadata__"}
        return SafetensorsHeader(entries.get("__metadata__") or {}, tensors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SafetensorError(f"header: {type(error).__name__} {error}") from error


def header_bytes(path: Path) -> bytes:
    """The raw header, for digests.

    Raises:
        SafetensorError, OSError: it has none, or cannot be read.
    """
    if isinstance(path, RemotePath):
        with path.ranges() as file:  # unlike a single request, it minds a server that sends the file whole
            return _header_of(file, path, _MAX_HEADER_BYTES)
    with path.open("rb") as file:
        return _header_of(file, path, min(_MAX_HEADER_BYTES, path.stat().st_size))


def first_bytes(path: Path, count: int) -> bytes:
    """Up to `count` bytes from the start of a file."""
    with path.ranges() if isinstance(path, RemotePath) else path.open("rb") as file:
        return bytes(file.read(count))


def _header_of(file: Any, path: Path, limit: int) -> bytes:
    try:
        prefix = file.read(_LENGTH_BYTES)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < _LENGTH_BYTES or length > limit:
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


def _span(entry: Mapping[str, Any], data_start: int) -> TensorSpan:
    start, stop = entry["data_offsets"]
    span = TensorSpan(tuple(map(int, entry["shape"])), entry["dtype"], data_start + start, stop - start)
    if span.dtype in ITEM_BYTES and span.size != ITEM_BYTES[span.dtype] * math.prod(span.shape):
        raise ValueError("offsets do not fit the shape")
    return span


class RangeFile:
    """A file opened for `get_tensor` and `get_rows`; each reads the bytes that it needs and no others.

    Args:
        path: the file, or its address.

    Raises:
        SafetensorError, OSError: it is no safetensors file, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spans = read_header(path).tensors

    def get_tensor(self, name: str) -> torch.Tensor:
        """Read a whole tensor."""
        shape = self._spans[name].shape
        return self.get_rows(name, 0, shape[0] if shape else 1).reshape(shape)

    def get_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Read the entries `start` to `stop` of a tensor's first dimension."""
        import torch

        span = self._spans[name]
        shape, dtype = (stop - start, *span.shape[1:]), getattr(torch, span.dtype)
        if not math.prod(shape):
            return torch.empty(shape, dtype=dtype)
        row_bytes = ITEM_BYTES[span.dtype] * math.prod(span.shape[1:])
        data = _read_range(self._path, span.start + start * row_bytes, (stop - start) * row_bytes)
        return torch.frombuffer(data, dtype=dtype).reshape(shape)


def _read_range(path: Path, start: int, count: int) -> bytearray:
    if isinstance(path, RemotePath):
        return bytearray(path.read_range(start, count))
    data = bytearray(count)
    view, done = memoryview(data), 0
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while done < count:
            n_read = file.readinto(view[done:])
            if not n_read:
                raise SafetensorError(f"{count - done} bytes are missing")
            done += n_read
    return data
