"""A writer that dies at any moment leaves a run whole or absent, and the next writer puts things right."""

import os
import shutil

import pytest

from geodiag.errors import StoreError
from geodiag.store import add_table, recover, remove_run, write_run
from geodiag.store.layout import STAGING

from .builders import gradients, seen, tables


class Killed(BaseException):
    """What a dead process raises: nothing catches it, and nothing it does afterwards has an effect."""


class Killer:
    """Kills the process at its k-th move or removal of a file; from then on none takes place."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self.left = at
        for name in ("replace", "unlink"):
            patch.setattr(os, name, self._guard(getattr(os, name)))

    def _guard(self, change):
        def guarded(*args, **kwargs):
            self.left -= 1
            if self.left < 0:
                raise Killed
            return change(*args, **kwargs)

        return guarded


def new(store):
    write_run(store, "r", tables(2.0))


def overwrite(store):
    write_run(store, "r", tables(2.0), overwrite=True)


def overwrite_with_less(store):
    less = {name: rows for name, rows in tables(2.0).items() if name != "layers"}
    write_run(store, "r", less, overwrite=True)


def add(store):
    add_table(store, "r", "gradients", gradients(2.0))


def add_again(store):
    add_table(store, "r", "scores", tables(2.0)["scores"], settings={"tag": 1.0}, overwrite=True)


def remove(store):
    remove_run(store, "r")


def outcomes(store, action, start):
    """Runs the action on a copy of `start`, killed at every possible moment in turn, then not at all."""
    for at in range(200):
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(start, store)
        with pytest.MonkeyPatch.context() as patch:
            killer = Killer(patch, at)
            try:
                action(store)
            except Killed:
                pass
            else:
                if killer.left >= 0:
                    return
        yield at
    raise AssertionError("the action never ends")


def litter(store):
    return [path.name for path in (store / STAGING).iterdir() if path.name != "commit.lock"]


@pytest.fixture
def with_run(tmp_path):
    start = tmp_path / "start"
    write_run(start, "other", tables(9.0))
    write_run(start, "r", tables(1.0))
    return start


@pytest.fixture
def without_run(tmp_path):
    start = tmp_path / "start"
    write_run(start, "other", tables(9.0))
    return start


def crash_everywhere(store, action, start, look):
    """What readers see after each crash, and after the recovery from it."""
    found = []
    for _ in outcomes(store, action, start):
        crashed = look(store)
        assert seen(store, "other") == {9.0}
        recover(store)
        assert seen(store, "other") == {9.0}
        assert litter(store) == []
        found.append((crashed, look(store)))
    assert len(found) >= 3
    return found


def test_a_new_run_is_whole_or_absent(tmp_path, without_run):
    store = tmp_path / "store"
    found = crash_everywhere(store, new, without_run, lambda path: seen(path, "r"))
    assert {repr(pair) for pair in found} == {
        repr((None, None)),  # before the journal: rolled back
        repr((None, {2.0})),  # after it: rolled forward
        repr(({2.0}, {2.0})),  # only the clearing up was left
    }


def test_a_replaced_run_is_the_old_or_the_new_one_whole_or_absent(tmp_path, with_run):
    store = tmp_path / "store"
    found = crash_everywhere(store, overwrite, with_run, lambda path: seen(path, "r"))
    assert {repr(pair) for pair in found} == {
        repr(({1.0}, {1.0})),
        repr(({1.0}, {2.0})),  # the journal stood, no move was made
        repr((None, {2.0})),
        repr(({2.0}, {2.0})),
    }


def test_a_removed_run_is_whole_or_absent(tmp_path, with_run):
    store = tmp_path / "store"
    found = crash_everywhere(store, remove, with_run, lambda path: seen(path, "r"))
    assert {repr(pair) for pair in found} == {repr(({1.0}, {1.0})), repr(({1.0}, None)), repr((None, None))}
    assert not list(store.rglob("run=r"))


def test_a_table_that_the_new_run_lacks_goes_with_the_old_one(tmp_path, with_run):
    store = tmp_path / "store"
    for _ in outcomes(store, overwrite_with_less, with_run):
        recover(store)
        there = (store / "layers" / "run=r").exists()
        marker = (store / "runs" / "run=r" / "part-0.parquet").exists()
        assert marker
        assert seen(store, "r") == ({1.0} if there else {-1.0})
    assert not (store / "layers" / "run=r").exists()


def test_an_added_table_never_hides_the_run(tmp_path, with_run):
    def look(path):
        return seen(path, "r"), (path / "gradients" / "run=r" / "part-0.parquet").exists()

    found = crash_everywhere(tmp_path / "store", add, with_run, look)
    assert all(run == {1.0} for crashed, after in found for run, _ in (crashed, after))
    assert {(crashed[1], after[1]) for crashed, after in found} == {
        (False, False),
        (False, True),
        (True, True),
    }


def test_a_replaced_table_is_the_old_or_the_new_one(tmp_path, with_run):
    found = crash_everywhere(tmp_path / "store", add_again, with_run, lambda path: seen(path, "r"))
    assert {repr(crashed) for crashed, _ in found} == {repr({1.0}), repr(None), repr({1.0, 2.0})}
    assert {repr(after) for _, after in found} == {repr({1.0}), repr({1.0, 2.0})}


def test_a_recovery_that_is_killed_too_is_finished_by_the_next(tmp_path, with_run):
    with pytest.MonkeyPatch.context() as patch:
        Killer(patch, 5)
        with pytest.raises(Killed):
            overwrite(with_run)
    store = tmp_path / "store"
    for _ in outcomes(store, recover, with_run):
        assert seen(store, "r") in (None, {2.0})
        recover(store)
        assert seen(store, "r") == {2.0}
        assert litter(store) == []


@pytest.mark.parametrize("k", range(1, 9))
def test_the_next_write_recovers_without_being_asked(tmp_path, without_run, monkeypatch, k):
    real, calls = os.replace, []

    def failing(source, target):
        calls.append(target)
        if len(calls) == k:
            raise Killed
        return real(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(Killed):
        new(without_run)
    monkeypatch.setattr(os, "replace", real)
    assert seen(without_run, "r") is None
    write_run(without_run, "third", tables(3.0))
    # The first rename is the journal's own: without it there is nothing to finish.
    assert seen(without_run, "r") == (None if k == 1 else {2.0})
    assert seen(without_run, "third") == {3.0}
    assert litter(without_run) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, without_run, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"cannot write: .*No space left.*; check space and permissions"):
            new(without_run)
    assert seen(without_run, "r") is None
    assert litter(without_run) == []
