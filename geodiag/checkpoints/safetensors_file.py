"""Safetensors files, single or sharded: header first, then one tensor at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from geodiag.checkpoints.range_file import RangeFile, dtype_name, first_bytes, read_header
from geodiag.common.files import read_json_object
from geodiag.common.remote import RemotePath
from geodiag.errors import CheckpointError

Reading = Literal["mmap", "buffered"]
"""How a local file is read: mapped into memory, or each tensor by plain reads of exactly its bytes."""


@dataclass(frozen=True)
class TensorInfo:
    """Shape and dtype of a stored tensor."""

    shape: tuple[int, ...]
    """Its shape as stored."""
    dtype: str
    """Its dtype as torch names it, such as "bfloat16"."""


def read_infos(path: Path) -> dict[str, TensorInfo]:
    """Shape and type of every tensor of a file, from its header alone.

    Args:
        path: the file.

    Raises:
        CheckpointError: the file is missing, truncated, damaged, or something else by that name.
    """
    if isinstance(path, RemotePath):
        with readable(path):
            return {name: TensorInfo(span.shape, span.dtype) for name, span in read_header(path).tensors.items()}
    infos: dict[str, TensorInfo] = {}
    with readable(path), safe_open(path, framework="numpy") as file:  # numpy: torch is not needed yet
        for name in file.keys():  # noqa: SIM118  (not a dict)
            part = file.get_slice(name)
            infos[name] = TensorInfo(tuple(part.get_shape()), dtype_name(part.get_dtype()))
    return infos


def open_weights(path: Path, *, reading: Reading) -> Any:
    """Open a file for `get_tensor(name)`, which gives torch tensors on the CPU; a remote one is read by ranges."""
    with readable(path):
        mapped = reading == "mmap" and not isinstance(path, RemotePath)
        return safe_open(path, framework="pt") if mapped else RangeFile(path)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn any error of reading a safetensors file into a CheckpointError that names the file."""
    try:
        yield
    except (SafetensorError, OSError, MemoryError) as error:
        message, fix = _diagnosis(path, error)
        raise CheckpointError(message, where=path, fix=fix) from error


_OTHER_FORMATS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the weights", "run `git lfs pull` in its folder"),
    (b"PK\x03\x04", "a PyTorch zip file, not safetensors", "convert it to safetensors"),
    (b"\x80\x02", "a Python pickle, not safetensors", "convert it to safetensors"),
    (b"\x80\x04", "a Python pickle, not safetensors", "convert it to safetensors"),
    (b"GGUF", "a GGUF file, not safetensors", "bring the checkpoint in safetensors"),
    (b"<", "a web page or XML, not safetensors", "download the file again"),
)
"""First bytes of other formats under a safetensors name: (bytes, message, remedy)."""


def _diagnosis(path: Path, error: Exception) -> tuple[str, str]:
    try:
        start = first_bytes(path, 32)
    except OSError as failure:
        return f"cannot be read ({failure.strerror})", "check that the file is there and may be read"
    if not start:
        return "the file is empty", "copy or download it again"
    for first, message, fix in _OTHER_FORMATS:
        if start.startswith(first):
            return message, fix
    reason = str(error).rpartition("header: ")[2][:160]
    return f"truncated or damaged safetensors file ({reason})", "copy or download it again"


_AGAIN = "save, copy or download the checkpoint again"


def read_shards(index: Path) -> dict[str, tuple[TensorInfo, Path]]:
    """Every tensor that an index names, with its shard, from headers alone.

    The index decides: tensors that lie in a shard and are not named by it are not part of the checkpoint.

    Args:
        index: a `model.safetensors.index.json`.

    Raises:
        CheckpointError: the index is not one, a shard is missing or damaged, lies outside the folder, or does
            not hold a tensor that the index puts there.
    """
    weight_map = _weight_map(index)
    files = {shard: _shard_file(index, shard) for shard in sorted(set(weight_map.values()))}
    infos = {shard: read_infos(file) for shard, file in files.items()}
    for tensor, shard in weight_map.items():
        if tensor not in infos[shard]:
            message = f"the index puts it in {shard}, which does not hold it"
            raise CheckpointError(message, where=index, tensor=tensor, fix=_AGAIN)
    return {tensor: (infos[shard][tensor], files[shard]) for tensor, shard in weight_map.items()}


def _weight_map(index: Path) -> Mapping[str, str]:
    weight_map: Any = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        message = "'weight_map' is missing or empty"
        raise CheckpointError(message, where=index, fix='it maps each tensor to its shard: {"weight_map": {...}}')
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or not shard:
            message = f"'weight_map' gives {str(shard)[:60]!r} where a file name belongs"
            raise CheckpointError(message, where=index, tensor=tensor, fix=_AGAIN)
    return weight_map


def _shard_file(index: Path, shard: str) -> Path:
    parts = {*PurePosixPath(shard).parts, *PureWindowsPath(shard).parts}
    if ".." in parts or PurePosixPath(shard).is_absolute() or PureWindowsPath(shard).anchor or "\0" in shard:
        message = f"the shard {shard[:80]!r} lies outside the checkpoint's folder"
        raise CheckpointError(message, where=index, fix="shards are files beside the index")
    file = index.parent / shard
    try:
        there = file.is_file()
    except OSError:  # a name too long to be one
        there = False
    if not there:
        message = f"the shard {shard[:80]!r} is not there"
        raise CheckpointError(message, where=index, fix="copy or download the missing file")
    return file
