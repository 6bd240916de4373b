"""Paths to files behind an address (https://, s3://, hf://), read by byte ranges."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from geodiag.errors import CheckpointError

_Result = TypeVar("_Result")
if TYPE_CHECKING:
    _Concrete = Path
else:
    _Concrete = type(Path())  # before Python 3.12 only the class of this system's paths can be derived from

INSTALL_REMOTE = 'pip install "geodiag[remote]"'
_NO_LISTING = ("http", "https")
"""Protocols under which folders cannot be listed, so that names are asked for one by one."""
_FILES = (".safetensors", ".json", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".gguf")
"""Endings of what is asked for as a file; folders may have points in their names too."""
_VERSIONS = ("ETag", "etag", "Last-Modified", "LastModified", "last_modified", "mtime", "updated", "created", "md5")


@dataclass(frozen=True)
class RemoteStat:
    """What is known of a remote file without reading it."""

    st_size: int
    """Bytes."""
    version: str
    """Whatever its file system gives that changes with the file: a tag, a digest, a time."""


class RemotePath(_Concrete):
    """The address of a remote file or folder: parts, parents, names and `/` as of a path, reading by fsspec."""

    def __str__(self) -> str:
        """The address with both slashes behind its protocol, which paths fold into one."""
        protocol, _, rest = super().__str__().partition(":/")
        return f"{protocol}://{rest.lstrip('/')}"

    def __fspath__(self) -> str:
        return str(self)

    def is_absolute(self) -> bool:
        """Always: an address is relative to nothing."""
        return True

    @property
    def protocol(self) -> str:
        """`http`, `s3`, ..."""
        return str(self).partition("://")[0]

    def is_file(self) -> bool:
        """Whether a file is there; over HTTP a folder's index page is none, so only what has a file's ending is one."""
        if self.protocol in _NO_LISTING and self.suffix not in _FILES:
            return False
        info = self._info()
        return info is not None and info.get("type") == "file"

    def is_dir(self) -> bool:
        """Whether it is a folder: over HTTP, whether it has no file's ending, since nothing else tells."""
        if self.protocol in _NO_LISTING:
            return self.suffix not in _FILES
        info = self._info()
        return info is not None and info.get("type") == "directory"

    def exists(self, **_: Any) -> bool:
        """Whether there is a file or a folder."""
        return self.is_file() or self.is_dir()

    def stat(self, **_: Any) -> RemoteStat:  # type: ignore[override]  # what a server tells, not a stat_result
        """Size and version; raises `CheckpointError` where there is no such file."""
        info = self._info()
        if info is None:
            raise CheckpointError("no such file", where=self, fix="check the address")
        version = ";".join(f"{key}={info[key]}" for key in _VERSIONS if info.get(key))
        return RemoteStat(int(info.get("size") or 0), version)

    def read_bytes(self) -> bytes:
        """The whole file, for small ones."""
        data: bytes = self._attempt(lambda fs, path: fs.cat_file(path))
        return data

    def read_text(self, encoding: str | None = "utf-8", errors: str | None = None, **_: Any) -> str:
        """The whole file as text, for small ones."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def names(self, among: Iterable[str]) -> list[str]:
        """The names in the folder; where it cannot be listed, those of `among` that are there."""
        if self.protocol in _NO_LISTING:
            return [name for name in among if (self / name).is_file()]
        listed: list[str] = self._attempt(lambda fs, path: fs.ls(path, detail=False))
        return sorted(PurePath(name).name for name in listed)

    def ranges(self) -> Any:
        """The file opened so that each read asks for its own bytes and no more; to be closed."""
        return self._attempt(lambda fs, path: fs.open(path, "rb", cache_type="none"))

    def read_range(self, start: int, count: int) -> bytes:
        """So many bytes from `start` on, in one request; raises where fewer or more come."""
        data: bytes = self._attempt(lambda fs, path: fs.cat_file(path, start=start, end=start + count))
        if len(data) != count:
            message = f"{len(data)} bytes came where {count} were asked for"
            raise CheckpointError(
                message, where=self, fix="the server has to answer range requests, and the file be whole"
            )
        return data

    def _info(self) -> dict[str, Any] | None:
        def info(fs: Any, path: str) -> dict[str, Any] | None:
            try:
                return dict(fs.info(path))
            except FileNotFoundError as error:
                # Over HTTP this also stands for a host that does not answer, and for a refusal.
                cause = error.__cause__
                if cause is not None and getattr(cause, "status", None) not in (404, 410):
                    raise unreachable(self, cause) from error
                return None

        return self._attempt(info)

    def _attempt(self, call: Callable[[Any, str], _Result]) -> _Result:
        """What a driver gives; whatever it raises, and drivers raise anything, names the address."""
        try:
            fs, path = self._file_system()
            return call(fs, path)
        except CheckpointError:
            raise
        except Exception as error:
            raise unreachable(self, error) from error

    def _file_system(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise self._missing(error, INSTALL_REMOTE) from error
        try:
            fs, path = url_to_fs(str(self))
            return fs, path
        except ImportError as error:
            fix = (
                INSTALL_REMOTE
                if self.protocol in _NO_LISTING
                else f"install the driver of {self.protocol}:// for fsspec"
            )
            raise self._missing(error, fix) from error
        except ValueError as error:
            message = f"no file system is known by {self.protocol}://"
            fix = "use a path, http(s):// or an address that fsspec reads"
            raise CheckpointError(message, where=self, fix=fix) from error

    def _missing(self, error: ImportError, fix: str) -> CheckpointError:
        message = f"reading it needs a package that is not installed ({error})"
        return CheckpointError(message, where=self, fix=fix)


def unreachable(path: Path, error: BaseException) -> CheckpointError:
    """The error of a remote file that cannot be read."""
    told = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {told[0][:160]}" if told else type(error).__name__
    return CheckpointError(f"cannot be read ({reason})", where=path, fix="check the address, and that you may read it")


def as_path(text: str | Path) -> Path:
    """A path or an address as written; `file://` is an ordinary path.

    Args:
        text: what a person wrote, or a path.
    """
    if isinstance(text, Path) or "://" not in text:
        return Path(text)
    parts = urlsplit(text)
    return Path(unquote(parts.path)) if parts.scheme == "file" else RemotePath(text)


def absolute(path: str | Path) -> Path:
    """The same place whatever the working folder becomes; links are kept as they are, addresses too."""
    path = as_path(path) if isinstance(path, str) else path
    return path if isinstance(path, RemotePath) else Path(os.path.abspath(path))


def names_in(folder: Path, *, among: Iterable[str]) -> list[str]:
    """The names in a folder, sorted; of a remote one that cannot be listed those of `among` that are there."""
    return folder.names(among) if isinstance(folder, RemotePath) else sorted(os.listdir(folder))
