"""Errors of the disk, of memory and of missing packages, each translated into one line with its remedy."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from geodiag.common.text import first_line
from geodiag.errors import GeodiagError, StoreError, UnexpectedError

_REMEDIES = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or have the quota raised",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.EROFS: "make it writable",
    errno.ENOENT: "check that the disk or mount is there",
    errno.ENOTDIR: "name a path below a folder",
    errno.EISDIR: "name a file",
    errno.EEXIST: "name another path",
    errno.ESTALE: "check that the mount is there",
    errno.ENOTCONN: "check that the mount is there",
    errno.EIO: "check the disk or mount",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}
_EXTRAS = dict.fromkeys(("transformers", "tokenizers", "accelerate", "peft"), "geodiag[models]")
_SHORT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


def as_problem(
    cause: Exception,
    *,
    where: Path | None = None,
    run: str | None = None,
    again: str = "then run the same command again",
    less: str = "use a machine with more, or fewer things beside it",
) -> GeodiagError:
    """Translate any exception into an error of one line; a `GeodiagError` is returned as it is.

    Args:
        cause: the exception.
        where: the file or folder being written or read; None is the one that the exception names.
        run: the run that it ended.
        again: what to do once the disk or memory is mended.
        less: advice that takes less memory.

    Returns:
        `StoreError` for the disk, `GeodiagError` for memory and missing packages, `UnexpectedError` for the rest; its
        `__cause__` is the exception.
    """
    if isinstance(cause, GeodiagError):
        return cause
    problem = _describe(cause, where, run, again, less)
    problem.__cause__ = cause
    return problem


def _describe(cause: Exception, where: Path | None, run: str | None, again: str, less: str) -> GeodiagError:
    if isinstance(cause, MemoryError) or _is_short_of_memory(cause):
        return GeodiagError(f"the memory is not enough ({first_line(cause)})", run=run, fix=f"{less}, {again}")
    if isinstance(cause, ModuleNotFoundError) and cause.name and not cause.name.startswith("geodiag"):
        package = cause.name.partition(".")[0]
        return GeodiagError(
            f"{package} is not installed", run=run, fix=f"pip install '{_EXTRAS.get(package, package)}'"
        )
    number = _error_number(cause)
    if isinstance(cause, OSError) or number is not None:
        remedy = _REMEDIES.get(number or 0, "mend it")
        message = f"cannot read or write: {first_line(cause)}"
        return StoreError(message, where=where, run=run, fix=f"{remedy}, {again}")
    return UnexpectedError(
        f"unexpected {type(cause).__name__}: {first_line(cause)}",
        run=run,
        fix="this is a mistake in geodiag; --debug shows where",
    )


def _is_short_of_memory(cause: Exception) -> bool:
    message = str(cause).lower()
    # torch's own error for a device is a RuntimeError that says so too.
    return isinstance(cause, RuntimeError) and any(words in message for words in _SHORT_OF_MEMORY)


def _error_number(cause: Exception) -> int | None:
    """The operating system's error number; errors of polars, which are no OSError, have it in their text."""
    if isinstance(cause, OSError) and cause.errno is not None:
        return cause.errno
    named = re.search(r"\(os error (\d+)\)", str(cause))
    return int(named[1]) if named else None
