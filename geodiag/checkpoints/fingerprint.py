"""Recognising a checkpoint that has not changed, without reading its weights."""

from __future__ import annotations

import hashlib

from geodiag.checkpoints.model_weights import ModelWeights
from geodiag.checkpoints.range_file import header_bytes
from geodiag.checkpoints.safetensors_file import readable
from geodiag.common.remote import RemoteStat


def fingerprint(weights: ModelWeights) -> str:
    """A short key that stays the same as long as a checkpoint's files do.

    It digests, for each safetensors file, the name, the size, the time of the last change in nanoseconds
    and the header (names, types, shapes and offsets of all tensors). No weight is read. Of a remote file the tag,
    digest or time that its server gives stands for the time; where it gives none, the header and the size decide.

    What it can miss: weights rewritten in place, in the same types and shapes, by something that also puts
    the old time back (`rsync --times` from a copy of the same size and time, `touch -r`), or twice within
    one tick of the file system's clock. What it reports needlessly: the same bytes copied or downloaded
    anew, because the time differs. Folder names and `config.json` do not count, so moving a folder is no
    change. Of an adapter, whose `adapter_config.json` scales its update, that file counts with all it says.

    Args:
        weights: the checkpoint or adapter.

    Returns:
        32 hexadecimal digits.

    Raises:
        CheckpointError: a file has gone since the checkpoint was opened.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in weights.files:
        with readable(file):
            stat = file.stat()
            header = file.read_bytes() if file.suffix == ".json" else header_bytes(file)
            changed = stat.version if isinstance(stat, RemoteStat) else str(stat.st_mtime_ns)
        # Every part is preceded by its length, so that no two sequences of parts read the same.
        for part in (file.name.encode(), str(stat.st_size).encode(), changed.encode(), header):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()
