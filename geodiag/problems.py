"""What goes wrong around the work rather than in it: disks, mounts, memory. One line each, with what to do."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from geodiag.errors import GeodiagError, StoreError

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


class UnexpectedError(GeodiagError):
    """A mistake in geodiag itself; the cause holds the traceback."""


def as_problem(
    cause: Exception,
    *,
    where: Path | None = None,
    run: str | None = None,
    again: str = "then run the same command again",
    less: str = "use a machine with more, or fewer things beside it",
) -> GeodiagError:
    """Any error as one line: one that a room foresaw as it is, any other by what the system says.

    Args:
        cause: what was raised.
        where: what was being written or read; None is what the cause names.
        run: the run that it ended.
        again: what to do once the disk or memory is mended.
        less: what would take less memory.
    """
    if isinstance(cause, GeodiagError):
        return cause
    problem = _describe(cause, where, run, again, less)
    problem.__cause__ = cause
    return problem


def _describe(cause: Exception, where: Path | None, run: str | None, again: str, less: str) -> GeodiagError:
    if isinstance(cause, MemoryError) or _says_short_of_memory(cause):
        return GeodiagError(f"the memory is not enough ({_first_line(cause)})", run=run, fix=f"{less}, {again}")
    if isinstance(cause, ModuleNotFoundError) and cause.name and not cause.name.startswith("geodiag"):
        package = cause.name.partition(".")[0]
        return GeodiagError(
            f"{package} is not installed", run=run, fix=f"pip install '{_EXTRAS.get(package, package)}'"
        )
    number = _error_number(cause)
    if isinstance(cause, OSError) or number is not None:
        remedy = _REMEDIES.get(number or 0, "mend it")
        what = f"cannot read or write: {_first_line(cause)}"
        return StoreError(what, where=where, run=run, fix=f"{remedy}, {again}")
    return UnexpectedError(
        f"unexpected {type(cause).__name__}: {_first_line(cause)}",
        run=run,
        fix="this is a mistake in geodiag; --debug shows where",
    )


def _says_short_of_memory(cause: Exception) -> bool:
    told = str(cause).lower()
    # torch's own error for a device is a RuntimeError that says so too.
    return isinstance(cause, RuntimeError) and any(words in told for words in _SHORT_OF_MEMORY)


def _error_number(cause: Exception) -> int | None:
    """The system's number of what it refused; errors of polars, which are no OSError, name it in their text."""
    if isinstance(cause, OSError) and cause.errno is not None:
        return cause.errno
    named = re.search(r"\(os error (\d+)\)", str(cause))
    return int(named[1]) if named else None


def _first_line(cause: Exception) -> str:
    lines = str(cause).strip().splitlines()
    return lines[0][:200] if lines else type(cause).__name__
