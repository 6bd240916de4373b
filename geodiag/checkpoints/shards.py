"""Weights spread over several files: the index that says which tensor is in which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from geodiag.checkpoints.json_file import read_json
from geodiag.checkpoints.safetensors_file import TensorInfo, read_infos
from geodiag.errors import CheckpointError

_AGAIN = "save, copy or download the checkpoint again"


def read_shards(index: Path) -> dict[str, tuple[TensorInfo, Path]]:
    """Every tensor that an index names, with the shard that holds it, from headers alone.

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
            what = f"the index puts it in {shard}, which does not hold it"
            raise CheckpointError(what, where=index, tensor=tensor, fix=_AGAIN)
    return {tensor: (infos[shard][tensor], files[shard]) for tensor, shard in weight_map.items()}


def _weight_map(index: Path) -> Mapping[str, str]:
    weight_map: Any = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        what = "'weight_map' is missing or empty"
        raise CheckpointError(what, where=index, fix='it maps each tensor to its shard: {"weight_map": {...}}')
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or not shard:
            what = f"'weight_map' gives {str(shard)[:60]!r} where a file name belongs"
            raise CheckpointError(what, where=index, tensor=tensor, fix=_AGAIN)
    return weight_map


def _shard_file(index: Path, shard: str) -> Path:
    parts = {*PurePosixPath(shard).parts, *PureWindowsPath(shard).parts}
    if ".." in parts or PurePosixPath(shard).is_absolute() or PureWindowsPath(shard).anchor or "\0" in shard:
        what = f"the shard {shard[:80]!r} lies outside the checkpoint's folder"
        raise CheckpointError(what, where=index, fix="shards are files beside the index")
    file = index.parent / shard
    try:
        there = file.is_file()
    except OSError:  # a name too long to be one
        there = False
    if not there:
        what = f"the shard {shard[:80]!r} is not there"
        raise CheckpointError(what, where=index, fix="copy or download the missing file")
    return file
