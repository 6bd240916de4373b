"""Files written whole: under another name first, flushed, then renamed; and JSON objects read from files."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geodiag.errors import CheckpointError, GeodiagError


@contextmanager
def written_aside(path: Path, *, flushed: bool = True) -> Iterator[Path]:
    """A draft in the same folder that is renamed to `path` on success; a kill or an error leaves `path` unchanged.

    Args:
        path: the file; its folder is made when it is not there.
        flushed: whether the bytes are forced to the disk before the rename, so that a power failure cannot leave an
            empty file under the final name.

    Yields:
        The draft's path, where no file is yet.

    Raises:
        OSError: it cannot be written; no draft stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield draft
        if flushed:
            flush(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with written_aside(path) as draft:
        draft.write_text(text, encoding="utf-8")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, renamed to `path` on success; a kill or an error leaves no `path`.

    Yields:
        The folder to write into, empty.
    """
    draft = path.with_name(f".{path.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        if path.exists():
            shutil.rmtree(path)
        os.replace(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def flush(path: Path) -> None:
    """Force a file or folder to the disk."""
    if os.name != "posix" and path.is_dir():
        return  # Windows neither opens nor needs to flush a folder.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_name(text: str) -> str:
    """A tensor's or a part's name as one file name: `/` becomes `~`."""
    return text.replace("/", "~")


def read_json_object(path: Path, *, error: type[GeodiagError] = CheckpointError) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Args:
        path: the file; a byte order mark at its start is skipped.
        error: the class of the error, such as `StoreError` for a file of a store.

    Raises:
        GeodiagError: of the class `error`; the file cannot be read, is not JSON (the line is named), or is not an
            object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as cause:
        raise error(f"cannot be read ({cause.strerror})", where=path) from cause
    except UnicodeDecodeError as cause:
        message = f"not UTF-8 text at byte {cause.start}"
        raise error(message, where=path, fix="copy or download it again") from cause
    except json.JSONDecodeError as cause:
        message = f"not valid JSON: {cause.msg}"
        raise error(message, where=f"{path}:{cause.lineno}", fix="copy or download it again") from cause
    except (RecursionError, ValueError) as cause:
        raise error("not valid JSON: nested or sized beyond reason", where=path) from cause
    if not isinstance(data, dict):
        raise error("not a JSON object", where=path, fix="copy or download it again")
    return data
