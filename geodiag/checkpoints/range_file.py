"""A safetensors file read by ranges: exactly a tensor's bytes, by plain reads or over the network.

A mapped file is best on a local disk. On a network file system every page of a map is a request of its own, and a
remote file cannot be mapped at all; there each tensor is one read of its byte range.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from geodiag.checkpoints.safetensors_header import ITEM_BYTES, read_header
from geodiag.common.remote import RemotePath

if TYPE_CHECKING:
    import torch


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
