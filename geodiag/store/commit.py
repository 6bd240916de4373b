"""Commits: changes of several files that become visible together, through a journal of moves that survives a crash.

Everything new is first written and flushed below a folder of its own in `STORE/.staging/`. Then the moves
that bring it into the store are written to a journal in that folder, and only then carried out in order. A
crash before the journal leaves files that the next writer removes. A crash after it leaves a journal, whose
remaining moves the next writer carries out. Since the first move of a replacement takes the run's partition of
`runs` away and the last one puts the new partition there, readers see a run whole or not at all at any time.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from geodiag.common.files import flush, write_text
from geodiag.errors import StoreError
from geodiag.store.layout import STAGING

PREFIX = "commit-"
JOURNAL = "commit.json"
LOCK = "commit.lock"
LOCK_PATIENCE = 120.0
"""Seconds to wait for another writer. A commit takes seconds, so a longer wait means that one hangs."""


@dataclass
class Commit:
    """A set of moves between a staging folder and the store, in the order in which they will happen."""

    store: Path
    """The store's top folder."""
    folder: Path
    """The staging folder, which holds incoming files and keeps outgoing ones until the end."""
    moves: list[tuple[str, str]] = field(default_factory=list)
    """(from, to), relative to the store's top folder. Exactly one end of each lies in the staging folder."""

    def take_out(self, path: Path) -> None:
        """Plans to move a file of the store out of it."""
        self.moves.append((self._name(path), self._name(self._slot())))

    def bring_in(self, path: Path) -> Path:
        """Plans to bring a file into the store at `path` and returns where to write it until then."""
        staged = self._slot()
        self.moves.append((self._name(staged), self._name(path)))
        return staged

    def _slot(self) -> Path:
        """An unused path in the staging folder for the next move."""
        return self.folder / f"{len(self.moves):03d}.parquet"

    def _name(self, path: Path) -> str:
        return path.relative_to(self.store).as_posix()


@contextmanager
def commit(store: Path) -> Iterator[Commit]:
    """Opens a commit, which is carried out when the block ends and dropped when it raises.

    One writer at a time; an earlier writer's unfinished commit is settled first.

    Raises:
        StoreError: another writer holds the store for longer than `LOCK_PATIENCE` seconds, or the file system
            refuses to write.
    """
    with _lock(store):
        _settle(store)
        folder = store / STAGING / f"{PREFIX}{uuid.uuid4().hex}"
        folder.mkdir()
        pending = Commit(store, folder)
        try:
            yield pending
            _write_journal(pending)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        _carry_out(pending)


def recover(store: Path) -> None:
    """Finishes the commit of a writer that died, and removes the files of one that had not begun its moves."""
    with _lock(store):
        _settle(store)


@contextmanager
def _lock(store: Path) -> Iterator[None]:
    staging = store / STAGING
    try:
        staging.mkdir(exist_ok=True)
        with FileLock(staging / LOCK, timeout=LOCK_PATIENCE):
            yield
    except Timeout as cause:
        fix = "wait for it, or end it if it hangs"
        raise StoreError(f"another process has been writing for {LOCK_PATIENCE:.0f} s", where=store, fix=fix) from cause
    except OSError as cause:
        raise StoreError(f"cannot write: {cause}", where=store, fix="check space and permissions") from cause


def _settle(store: Path) -> None:
    for folder in sorted((store / STAGING).glob(f"{PREFIX}*/")):
        journal = folder / JOURNAL
        if journal.exists():
            moves = json.loads(journal.read_text(encoding="utf-8"))
            _carry_out(Commit(store, folder, [(source, target) for source, target in moves]))
        else:
            shutil.rmtree(folder)


def _write_journal(pending: Commit) -> None:
    for source, _ in pending.moves:
        if (staged := pending.store / source).is_relative_to(pending.folder):
            flush(staged)
    write_text(pending.folder / JOURNAL, json.dumps(pending.moves, indent=1))
    flush(pending.folder)


def _carry_out(pending: Commit) -> None:
    """Carries out the remaining moves, in order. Repeating it after a crash at any point is safe."""
    for source, target in pending.moves:
        _move(pending.store / source, pending.store / target, pending.folder)
    for folder in {(pending.store / name).parent for move in pending.moves for name in move}:
        _tidy(folder, pending.folder)
    # The journal goes first: a folder without one is removed by the next writer and its moves never repeated.
    (pending.folder / JOURNAL).unlink()
    shutil.rmtree(pending.folder)


def _move(source: Path, target: Path, folder: Path) -> None:
    # The staging end alone says whether a move is done: the store's end may hold the old or the new file.
    done = target.exists() if target.is_relative_to(folder) else not source.exists()
    if not done:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)


def _tidy(folder: Path, staging: Path) -> None:
    """Flushes a partition's folder, or removes it when its last file went out."""
    if folder.is_relative_to(staging) or not folder.exists():
        return
    if any(folder.iterdir()):
        flush(folder)
    else:
        folder.rmdir()
