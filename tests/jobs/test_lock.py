"""One process a run: who waits for whom, whose lock is taken over, and what is said."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time

import pytest

from geodiag.jobs import lock
from geodiag.jobs.lock import Busy, run_lock

GONE = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
DEAD = int(GONE.stdout)


def taken(store, *, name="run.lock", **changes):
    """A lock of another process, as it lies on disk."""
    path = store / lock.LOCKS_FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = {"token": "t", "host": "elsewhere", "processes": "", "pid": 42, "job": "", "attempt": 0}
    path.write_text(json.dumps(holder | {"started": "2026-01-02T03:04:05+00:00"} | changes))
    return path


def silent(path, seconds):
    """As if the holder's last sign of life were so long ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def locked(store, run="run", **options):
    said = []
    with run_lock(store, run, say=said.append, **options):
        pass
    return said


def test_alone_it_leaves_nothing(tmp_path):
    with run_lock(tmp_path, "run", say=pytest.fail):
        (path,) = (tmp_path / lock.LOCKS_FOLDER).iterdir()
        assert path.name == "run.lock"
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list((tmp_path / lock.LOCKS_FOLDER).iterdir()) == []


def test_a_live_one_on_another_machine_is_named(tmp_path):
    path = taken(tmp_path)
    silent(path, 20)
    with pytest.raises(Busy) as caught:
        locked(tmp_path)
    assert re.fullmatch(
        rf"{re.escape(str(path))}: run run: process 42 on elsewhere, at work since \d+ d ago has it, last sign of life"
        r" 2\d s ago; wait for it or end it, then run this again; if it is gone for good, delete that file",
        str(caught.value),
    )
    assert path.exists()


def test_a_live_one_here_is_not_taken_whatever_its_silence_up_to_the_limit(tmp_path):
    here = {"host": socket.gethostname(), "processes": lock._processes(), "pid": os.getppid()}
    silent(taken(tmp_path, **here), lock.STALE_AFTER - 30)
    with pytest.raises(Busy, match=rf"process {os.getppid()} on {socket.gethostname()}"):
        locked(tmp_path)


@pytest.mark.parametrize(
    ("changes", "age"),
    [
        ({"host": socket.gethostname(), "processes": lock._processes(), "pid": DEAD}, 1),
        ({}, lock.STALE_AFTER + 30),
    ],
    ids=["its process is gone", "silent for too long"],
)
def test_a_dead_one_is_taken_over_and_that_is_said(tmp_path, changes, age):
    silent(taken(tmp_path, **changes), age)
    (line,) = locked(tmp_path)
    holder = rf"process {changes.get('pid', 42)} on {changes.get('host', 'elsewhere')}, at work since \d+ d ago"
    assert re.fullmatch(rf"run run: {holder} is gone; going on from what it finished", line)
    assert list((tmp_path / lock.LOCKS_FOLDER).iterdir()) == []


def test_the_same_process_id_in_another_container_is_another_process(tmp_path):
    taken(tmp_path, host=socket.gethostname(), processes="another boot pid:[1]", pid=DEAD)
    with pytest.raises(Busy):
        locked(tmp_path)


def test_a_job_put_back_into_the_queue_knows_its_own_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.delenv("SLURM_CLUSTER_NAME", raising=False)
    monkeypatch.setenv("SLURM_PROCID", "0")
    taken(tmp_path, job="/7/0", attempt=1)
    with pytest.raises(Busy):  # another process of this very attempt
        locked(tmp_path)
    taken(tmp_path, job="/7/0", attempt=0)
    assert len(locked(tmp_path)) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": 1}'])
def test_a_damaged_one_counts_by_its_age(tmp_path, text):
    path = taken(tmp_path)
    path.write_text(text)
    with pytest.raises(Busy, match="a process that has just begun has it"):
        locked(tmp_path)
    silent(path, lock.STALE_AFTER + 30)
    assert len(locked(tmp_path)) == 1


def test_shards_go_side_by_side_and_never_beside_the_whole(tmp_path):
    with run_lock(tmp_path, "run", shard="1of2", say=pytest.fail):
        assert locked(tmp_path, shard="2of2") == []
        assert locked(tmp_path, run="other") == []
        assert locked(tmp_path, beside_shards=True) == []
        for taking in ({"shard": "1of2"}, {}):
            with pytest.raises(Busy, match=rf"process {os.getpid()} on "):
                locked(tmp_path, **taking)
    with run_lock(tmp_path, "run", say=pytest.fail), pytest.raises(Busy):
        locked(tmp_path, shard="2of2")
    assert list((tmp_path / lock.LOCKS_FOLDER).iterdir()) == []


def test_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.02)
    with run_lock(tmp_path, "run", say=pytest.fail):
        path = tmp_path / lock.LOCKS_FOLDER / "run.lock"
        silent(path, 1000)
        deadline = time.monotonic() + 10
        while path.stat().st_mtime < time.time() - 100:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_lock_that_was_lost_is_left_to_its_new_holder(tmp_path):
    with run_lock(tmp_path, "run", say=pytest.fail):
        path = taken(tmp_path, token="another")
    assert path.exists()


def test_a_lock_renewed_while_it_was_being_cleared_is_given_back(tmp_path):
    path = taken(tmp_path, token="new")
    old = lock.Holder("old", "elsewhere", "", 42, "", 0, None, 1000.0)
    assert not lock._clear(path, old)
    assert json.loads(path.read_text())["token"] == "new"
    assert [p.name for p in path.parent.iterdir()] == ["run.lock"]


def test_many_threads_and_one_dead_lock_have_one_winner_at_a_time(tmp_path):
    """Six of them try until each has had it five times; never do two have it."""
    import threading

    inside, most, done = [0], [0], []

    def work():
        had = 0
        while had < 5:
            try:
                with run_lock(tmp_path, "run", say=lambda _: None):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    time.sleep(0.001)
                    inside[0] -= 1
                    had += 1
            except Busy:
                time.sleep(0.001)
        done.append(had)

    silent(taken(tmp_path), lock.STALE_AFTER + 30)
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert done == [5] * 6
    assert list((tmp_path / lock.LOCKS_FOLDER).iterdir()) == []
