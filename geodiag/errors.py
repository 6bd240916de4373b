"""Errors of inputs, stores, settings and the machine, each a line that names place, finding and remedy."""

from __future__ import annotations

import errno
import re
from pathlib import Path


class GeodiagError(Exception):
    """The base of every error that a user can mend.

    Args:
        what: what was found, as a clause ("unknown key 'metod'").
        where: the file, folder or address it was found in.
        run: the run it belongs to.
        step: the step of that run, from 1.
        tensor: the tensor's name in its checkpoint.
        fix: what would be right, as a clause ("one of: method, size").
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        run: str | None = None,
        step: int | None = None,
        tensor: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.what, self.where, self.run, self.step, self.tensor, self.fix = what, where, run, step, tensor, fix
        super().__init__(str(self))

    def __str__(self) -> str:
        """`where: run r, step t, tensor n: what; fix`, leaving out what is not known."""
        place = [
            f"run {self.run}" if self.run is not None else "",
            f"step {self.step}" if self.step is not None else "",
            f"tensor {self.tensor}" if self.tensor is not None else "",
        ]
        head = [str(self.where) if self.where is not None else "", ", ".join(p for p in place if p)]
        line = ": ".join([h for h in head if h] + [self.what])
        return " ".join((line + (f"; {self.fix}" if self.fix else "")).split())


class ManifestError(GeodiagError):
    """A `run.yaml` or a configuration file is wrong."""


class ScoresError(GeodiagError):
    """A score file is wrong or does not fit its run."""


class ProbesError(GeodiagError):
    """A probe file is wrong or does not fit its run."""


class CheckpointError(GeodiagError):
    """A checkpoint cannot be read, or does not fit the run's base."""


class StoreError(GeodiagError):
    """A store is missing, damaged, busy, or holds other settings than those asked for."""


class SettingsError(GeodiagError):
    """A setting is out of its range, or two settings exclude each other."""


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
