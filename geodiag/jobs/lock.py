"""One process a run: a file that says who is at work on it, and that they still are."""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from geodiag.common.stopping import released_at_the_end
from geodiag.errors import StoreError

LOCKS_FOLDER = Path(".staging") / "locks"
"""Where locks lie in a store."""
BEAT = 15.0
"""Seconds between two signs of life."""
STALE_AFTER = 300.0
"""Seconds without one after which a holder on another machine counts as dead: a network file system may show another
machine's writes a minute late, and a suspended process may come back."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Holder:
    """Who made a lock."""

    token: str
    """Unique; empty while the file is being written, or where it is damaged."""
    host: str
    processes: str
    """Which processes its id counts among; containers of one host each have their own."""
    pid: int
    job: str
    """Its place in a Slurm job; empty elsewhere."""
    attempt: int
    """How often that job had been put back into the queue."""
    started: datetime | None
    silent: float
    """Seconds since its last sign of life, by the file system's own clock."""

    def dead(self) -> bool:
        """Whether it is gone: its id among this machine's processes tells, its job that began anew, or its silence."""
        here = self.host == socket.gethostname() and self.processes == _processes()
        again = self.job != "" and self.job == _job() and self.attempt < _attempt()
        return (here and not _runs(self.pid)) or again or self.silent > STALE_AFTER

    def __str__(self) -> str:
        if not self.token:
            return "a process that has just begun"
        since = "" if self.started is None else f", at work since {_ago(self.started)}"
        return f"process {self.pid} on {self.host}{since}"


class Busy(StoreError):
    """Another process is at work on a run."""

    def __init__(self, holder: Holder, *, where: Path, run: str) -> None:
        self.holder = holder
        super().__init__(
            f"{holder} has it, last sign of life {holder.silent:.0f} s ago",
            where=where,
            run=run,
            fix="wait for it or end it, then run this again; if it is gone for good, delete that file",
        )


@contextmanager
def run_lock(
    store: Path, run: str, *, shard: str | None = None, beside_shards: bool = False, say: Say
) -> Iterator[None]:
    """Keeps other processes off a run while the block runs.

    The whole run excludes everything else; a shard excludes the whole run and the same shard, not other shards. The
    lock saves work from being done twice. Nothing breaks where it is lost: finished layers and runs are each
    written in one step whoever writes them.

    Args:
        store: the store's folder.
        run: the run's id.
        shard: which shard of it, such as `2of4`; None is all of it.
        beside_shards: shards may go on meanwhile, since they have nothing left to compute.
        say: gets a line when a dead process's lock is taken over.

    Raises:
        Busy: another process is at work on it; names it, and what to do.
        OSError: the lock cannot be written.
    """
    folder = store / LOCKS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    mine = folder / _name(run, shard)
    token = _take(mine, run=run, say=say)
    with _held(mine, token):
        for other in [] if beside_shards else _in_the_way(folder, run, shard):
            _check_free(other, run=run, say=say)
        yield


def _name(run: str, shard: str | None) -> str:
    return f"{run}.lock" if shard is None else f"{run}+{shard}.lock"  # no run id has a +


def _in_the_way(folder: Path, run: str, shard: str | None) -> list[Path]:
    return [folder / _name(run, None)] if shard is not None else sorted(folder.glob(_name(run, "*")))


def _take(path: Path, *, run: str, say: Say) -> str:
    """Makes the lock file, once nobody who lives has it, and returns what is written in it."""
    while True:
        token = uuid.uuid4().hex
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            _check_free(path, run=run, say=say)
            continue
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(_myself(token), file)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return token


def _check_free(path: Path, *, run: str, say: Say) -> None:
    """Clears a dead holder's lock away; raises where the holder lives."""
    holder = _read(path)
    if holder is None:
        return
    if not holder.dead():
        raise Busy(holder, where=path, run=run)
    if _clear(path, holder):
        say(f"run {run}: {holder} is gone; going on from what it finished")


def _clear(path: Path, holder: Holder) -> bool:
    """Removes a dead holder's lock; False where another process was quicker."""
    grave = path.with_name(f".{uuid.uuid4().hex}")
    try:
        os.rename(path, grave)
    except FileNotFoundError:
        return False
    taken = _read(grave)
    if taken is not None and taken.token != holder.token:  # someone cleared it before, and this is their new one
        with suppress(FileExistsError):
            os.link(grave, path)
    grave.unlink(missing_ok=True)
    return taken is not None and taken.token == holder.token


def _read(path: Path) -> Holder | None:
    """Who holds a lock; None where there is none."""
    try:
        silent = max(0.0, _clock(path.parent) - path.stat().st_mtime)
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    try:
        fields = json.loads(text)
        return Holder(**{**fields, "started": datetime.fromisoformat(fields["started"]), "silent": silent})
    except (ValueError, KeyError, TypeError):
        return Holder("", "", "", 0, "", 0, None, silent)


def _clock(folder: Path) -> float:
    """Now, by the file system's clock: a server's may differ from this machine's by minutes."""
    probe = folder / f".{uuid.uuid4().hex}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def _held(path: Path, token: str) -> Iterator[None]:
    """Gives signs of life while the block runs, then lets go."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT):
            with suppress(OSError):  # a mount that is away for a while; the next beat tries again
                if _token(path) == token:
                    os.utime(path)

    def release() -> None:
        done.set()
        with suppress(OSError):
            if _token(path) == token:
                path.unlink()

    # A daemon: it must not keep a process that has ended otherwise.
    threading.Thread(target=beat, name="geodiag-lock", daemon=True).start()
    with released_at_the_end(release):
        try:
            yield
        finally:
            release()


def _token(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["token"])
    except (ValueError, KeyError, TypeError):
        return None


def _myself(token: str) -> dict[str, str | int]:
    return {
        "token": token,
        "host": socket.gethostname(),
        "processes": _processes(),
        "pid": os.getpid(),
        "job": _job(),
        "attempt": _attempt(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _job() -> str:
    parts = [os.environ.get(name, "") for name in ("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_PROCID")]
    return "/".join(parts) if parts[1] else ""


def _attempt() -> int:
    count = os.environ.get("SLURM_RESTART_COUNT", "")
    return int(count) if count.isdecimal() else 0


def _processes() -> str:
    """A name for the processes among which this one's id is unique, where the system has one."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _ago(started: datetime) -> str:
    seconds = max(0, round((datetime.now(UTC) - started).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"
