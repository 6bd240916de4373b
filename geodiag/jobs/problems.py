"""What goes wrong around a run rather than in it: disks, mounts, memory. One line each, with what to do."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import torch

from geodiag.errors import GeodiagError, StoreError

GO_ON = "then run the same command again: what was finished is kept"

_REMEDIES = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or have the quota raised",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.EROFS: "make it writable",
    errno.ENOENT: "check that the disk or mount is there",
    errno.ESTALE: "check that the mount is there",
    errno.ENOTCONN: "check that the mount is there",
    errno.EIO: "check the disk or mount",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}
_SHORT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


class UnexpectedError(GeodiagError):
    """A mistake in geodiag itself; the cause holds the traceback."""


def as_problem(cause: Exception, *, store: Path, run: str) -> GeodiagError:
    """An error that no room foresaw as a line for the run that it ended.

    Args:
        cause: what was raised.
        store: the store that was being written.
        run: the run's id.
    """
    problem = _describe(cause, store, run)
    problem.__cause__ = cause
    return problem


def _describe(cause: Exception, store: Path, run: str) -> GeodiagError:
    if isinstance(cause, MemoryError) or _says_short_of_memory(cause):
        what = f"the memory is not enough ({_first_line(cause)})"
        return GeodiagError(what, run=run, fix=f"give a smaller --memory-budget, {GO_ON}")
    number = _error_number(cause)
    if isinstance(cause, OSError) or number is not None:
        remedy = _REMEDIES.get(number or 0, "mend it")
        return StoreError(f"cannot read or write: {_first_line(cause)}", where=store, run=run, fix=f"{remedy}, {GO_ON}")
    return UnexpectedError(
        f"unexpected {type(cause).__name__}: {_first_line(cause)}",
        run=run,
        fix="this is a mistake in geodiag; --debug shows where",
    )


def _says_short_of_memory(cause: Exception) -> bool:
    told = str(cause).lower()
    return isinstance(cause, torch.OutOfMemoryError) or (
        isinstance(cause, RuntimeError) and any(words in told for words in _SHORT_OF_MEMORY)
    )


def _error_number(cause: Exception) -> int | None:
    """The system's number of what it refused; errors of polars, which are no OSError, name it in their text."""
    if isinstance(cause, OSError) and cause.errno is not None:
        return cause.errno
    named = re.search(r"\(os error (\d+)\)", str(cause))
    return int(named[1]) if named else None


def _first_line(cause: Exception) -> str:
    lines = str(cause).strip().splitlines()
    return lines[0][:200] if lines else type(cause).__name__
