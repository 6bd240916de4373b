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
"""Protocols without folder listings, where names are tried one by one."""
_FILES = (".safetensors", ".json", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".gguf")
"""Endings of files under these protocols; names of folders may have points too."""
_VERSIONS = ("ETag", "etag", "Last-Modified", "LastModified", "last_modified", "mtime", "updated", "created", "md5")


@dataclass(frozen=True)
class RemoteStat:
    """Size and version of a remote file."""

    st_size: int
    """Bytes."""
    version: str
    """Tag, digest or time that changes with the file, as its file system gives it; empty where it gives none."""


class RemotePath(_Concrete):
    """The address of a remote file or folder, with the interface of a path; read through fsspec."""

    def __str__(self) -> str:
        """The address, with both slashes after its protocol, which paths fold into one."""
        protocol, _, rest = super().__str__().partition(":/")
        return f"{protocol}://{rest.lstrip('/')}"

    def __fspath__(self) -> str:
        return str(self)

    def is_absolute(self) -> bool:
        """True for every address."""
        return True

    @property
    def protocol(self) -> str:
        """`http`, `s3`, ..."""
        return str(self).partition("://")[0]

    def is_file(self) -> bool:
        """Whether a file is there. Over HTTP, where folders answer too, only addresses with a file's ending count."""
        if self.protocol in _NO_LISTING and self.suffix not in _FILES:
            return False
        info = self._info()
        return info is not None and info.get("type") == "file"

    def is_dir(self) -> bool:
        """Whether it is a folder; over HTTP, which cannot say, whether it has no file's ending."""
        if self.protocol in _NO_LISTING:
            return self.suffix not in _FILES
        info = self._info()
        return info is not None and info.get("type") == "directory"

    def exists(self, **_: Any) -> bool:
        """Whether there is a file or a folder."""
        return self.is_file() or self.is_dir()

    def stat(self, **_: Any) -> RemoteStat:  # type: ignore[override]  # as the server answers, not a stat_result
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
        """The names in the folder; where it cannot be listed, those of `among` that exist."""
        if self.protocol in _NO_LISTING:
            return [name for name in among if (self / name).is_file()]
        listed: list[str] = self._attempt(lambda fs, path: fs.ls(path, detail=False))
        return sorted(PurePath(name).name for name in listed)

    def ranges(self) -> Any:
        """The file opened without read-ahead: each read requests exactly its bytes. The caller closes it."""
        return self._attempt(lambda fs, path: fs.open(path, "rb", cache_type="none"))

    def read_range(self, start: int, count: int) -> bytes:
        """Read `count` bytes from `start` on, in one request.

        Raises:
            CheckpointError: the answer is shorter or longer.
        """
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
        """Call a driver of fsspec; any exception, of whatever class, becomes a `CheckpointError` with the address."""
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
    lines = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
    return CheckpointError(f"cannot be read ({reason})", where=path, fix="check the address, and that you may read it")


def as_path(text: str | Path) -> Path:
    """Turn text into a path, or into a `RemotePath` where it is an address; `file://` is an ordinary path.

    Args:
        text: a path or an address.
    """
    if isinstance(text, Path) or "://" not in text:
        return Path(text)
    parts = urlsplit(text)
    return Path(unquote(parts.path)) if parts.scheme == "file" else RemotePath(text)


def absolute(path: str | Path) -> Path:
    """The absolute path, without resolving links; an address as it is."""
    path = as_path(path) if isinstance(path, str) else path
    return path if isinstance(path, RemotePath) else Path(os.path.abspath(path))


def names_in(folder: Path, *, among: Iterable[str]) -> list[str]:
    """The names in a folder, sorted; in a remote folder that cannot be listed, those of `among` that exist."""
    return folder.names(among) if isinstance(folder, RemotePath) else sorted(os.listdir(folder))
