"""One safetensors file: its header without its weights, and one weight at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from geodiag.checkpoints.dtypes import dtype_name
from geodiag.checkpoints.range_file import RangeFile, first_bytes, header_bytes, read_stretches
from geodiag.errors import CheckpointError
from geodiag.remote import RemotePath

Reading = Literal["mmap", "buffered"]
"""How a local file is read: mapped into memory, or each tensor by plain reads of exactly its bytes."""


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
    if isinstance(path, RemotePath):
        with readable(path):
            return {name: TensorInfo(found.shape, found.dtype) for name, found in read_stretches(path).items()}
    with readable(path), safe_open(path, framework="numpy") as file:  # numpy: torch is not needed yet
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        return {
            name: TensorInfo(tuple(part.get_shape()), dtype_name(part.get_dtype())) for name, part in slices.items()
        }


def open_weights(path: Path, *, reading: Reading) -> Any:
    """The file opened for `get_tensor(name)`, which gives torch tensors on the CPU; a remote one is read by ranges."""
    with readable(path):
        mapped = reading == "mmap" and not isinstance(path, RemotePath)
        return safe_open(path, framework="pt") if mapped else RangeFile(path)


def read_header(path: Path) -> bytes:
    """The raw header: names, types, shapes and offsets of all tensors.

    Raises:
        CheckpointError: as `read_infos`.
    """
    with readable(path):
        return header_bytes(path)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns whatever reading a safetensors file raises into a CheckpointError that names the file."""
    try:
        yield
    except (SafetensorError, OSError, MemoryError) as error:
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
        start = first_bytes(path, 32)
    except OSError as failure:
        return f"cannot be read ({failure.strerror})", "check that the file is there and may be read"
    if not start:
        return "the file is empty", "copy or download it again"
    for first, what, fix in _STRANGERS:
        if start.startswith(first):
            return what, fix
    reason = str(error).rpartition("header: ")[2][:160]
    return f"truncated or damaged safetensors file ({reason})", "copy or download it again"
