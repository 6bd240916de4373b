"""Stopped by a signal, or by a disk: a valid store, one line that says how to go on, and nothing hangs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from geodiag.common.problems import as_problem
from geodiag.common.stopping import GRACE
from geodiag.errors import SettingsError, UnexpectedError
from geodiag.jobs import lock, slurm
from geodiag.store import StoreReader
from tests import synthetic
from tests.jobs.rows import same_rows

GO_ON = "what was finished is kept, the same command goes on from there"


def arguments(runs, store, *more):
    return ["extract", runs, "--store", store, "--device", "cpu", "--rank", 4, *more]


@pytest.fixture(scope="module")
def ready(tmp_path_factory, geodiag):
    """Two runs of 42 layers and their rows."""
    return extracted(tmp_path_factory.mktemp("stop"), geodiag, runs="ab", blocks=6)


@pytest.fixture(scope="module")
def long(tmp_path_factory, geodiag):
    """A run of so many layers that a signal finds it at work, and its rows."""
    return extracted(tmp_path_factory.mktemp("long"), geodiag, runs="a", blocks=40)


def extracted(folder, geodiag, *, runs, blocks):
    for name in runs:
        synthetic.write_run(folder / "runs" / name, run=name, steps=2, blocks=blocks)
    code, said = geodiag.run(arguments(folder / "runs", folder / "whole"), folder / "log")
    assert code == 0, said
    return folder


def until(holds, *, seconds=30):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("name", "code"),
    [("SIGINT", 130), ("SIGTERM", 143), pytest.param("SIGHUP", 129, marks=pytest.mark.slow), ("SIGUSR2", 140)],
)
def test_a_signal_ends_it_with_one_line_and_it_goes_on(long, geodiag, tmp_path, name, code):
    if signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
        pytest.skip(f"{name} is ignored here, as under nohup, and stays so in what is started")
    parts = tmp_path / "store" / ".staging" / "parts"
    pid = geodiag.start(arguments(long / "runs" / "a", tmp_path / "store"), tmp_path / "log")
    until(lambda: len(list(parts.glob("a-*/model*"))) > 3)
    os.kill(pid, getattr(signal, name))
    before = time.monotonic()
    ended, said = geodiag.wait(pid), (tmp_path / "log").read_text()
    assert ended == code, said
    assert time.monotonic() - before < GRACE
    assert said.splitlines()[-1] == f"geodiag: stopped by {name}; {GO_ON}"
    assert "Traceback" not in said
    assert StoreReader(tmp_path / "store").run_ids() == []
    assert list((tmp_path / "store" / lock.LOCKS_FOLDER).iterdir()) == []
    if name == "SIGTERM":
        done, said = geodiag.run(arguments(long / "runs", tmp_path / "store"), tmp_path / "log")
        assert done == 0
        assert "of them from an earlier attempt" in said
        assert same_rows(tmp_path / "store", long / "whole")


DEEP = """
import concurrent.futures, hashlib, pathlib, sys
from geodiag.common import stopping
from geodiag.common.stopping import Stopped, leave, released_at_the_end, stop_on_signals
stopping.GRACE = 0.5
held = pathlib.Path(sys.argv[1])
def busy():
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 400_000_000)  # minutes in C, deaf to signals
try:
    with stop_on_signals(), released_at_the_end(lambda: held.unlink(missing_ok=True)):
        held.touch()
        try:
            if sys.argv[2] == "thread":
                with concurrent.futures.ThreadPoolExecutor(1) as pool:  # leaving it waits
                    pool.submit(busy).result()
            else:
                busy()
        finally:
            held.unlink(missing_ok=True)
except Stopped as stopped:
    print(stopped, file=sys.stderr)
    leave(stopped.exit_code)
"""


@pytest.mark.parametrize("where", ["main", "thread"])
@pytest.mark.parametrize("again", [False, True])
def test_what_cannot_be_told_to_stop_does_not_hang_the_exit(tmp_path, where, again):
    """Half a second after the signal, or at once at a second one, it ends; and lets go of what it holds."""
    command = [sys.executable, "-c", DEEP, str(tmp_path / "held"), where]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until((tmp_path / "held").exists)
    time.sleep(0.1)
    for _ in range(1 + again):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 143
    assert said == f"geodiag: stopped by SIGTERM; {GO_ON}\n"
    assert not (tmp_path / "held").exists()


SLOW_TO_LET_GO = """
import pathlib, sys, time
from geodiag.common.stopping import Stopped, leave, stop_on_signals
held = pathlib.Path(sys.argv[1])
try:
    with stop_on_signals():
        try:
            held.touch()
            time.sleep(60)
        finally:
            time.sleep(1)
            held.unlink()
except Stopped as stopped:
    print(stopped, file=sys.stderr)
    leave(stopped.exit_code)
"""


def test_a_warning_and_the_signal_behind_it_are_one_stop(tmp_path):
    """Slurm's USR2 is followed by its SIGTERM as soon as the job is put back: what lets go is not cut short."""
    command = [sys.executable, "-c", SLOW_TO_LET_GO, str(tmp_path / "held")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until((tmp_path / "held").exists)
    process.send_signal(signal.SIGUSR2)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (140, f"geodiag: stopped by SIGUSR2; {GO_ON}\n")
    assert not (tmp_path / "held").exists()


JOB = """
import signal, sys
from geodiag.jobs.slurm import Command
def leave(number, frame):
    sys.exit(-1)  # as submitit does once a job is back in the queue
signal.signal(signal.SIGUSR2, leave)
Command(tuple(sys.argv[1:]))()
"""


def test_a_slurm_job_that_leaves_waits_for_its_command(long, tmp_path):
    """Slurm signals both: the command says so, and its lock is gone."""
    store = tmp_path / "store"
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-c", JOB, *map(str, arguments(long / "runs" / "a", store))]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    until(lambda: len(list((store / ".staging" / "parts").glob("a-*/model*"))) > 3)
    os.killpg(process.pid, signal.SIGUSR2)
    assert process.wait(20) == 255
    assert f"geodiag: stopped by SIGUSR2; {GO_ON}" in (tmp_path / "log").read_text()
    assert list((store / lock.LOCKS_FOLDER).iterdir()) == []


DEAF = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


@pytest.mark.parametrize(("script", "code"), [(SLOW_TO_LET_GO, 143), (DEAF, -signal.SIGKILL)], ids=["slow", "deaf"])
def test_a_command_that_slurm_did_not_tell_is_told_and_then_killed(tmp_path, monkeypatch, script, code):
    monkeypatch.setattr(slurm, "GRACE", 1.0)
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "held")])
    until((tmp_path / "held").exists)
    slurm._stop(process)
    assert process.wait(5) == code
    assert (tmp_path / "held").exists() == (script is DEAF)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own with room for some layers; and a function that gives it room."""
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    if subprocess.run([*mount, "size=400k", "tmpfs", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder, lambda: subprocess.run([*mount, "remount,size=100m", "tmpfs", str(folder)], check=True)
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(ready, geodiag, tmp_path, small_disk):
    disk, make_room = small_disk
    code, said = geodiag.run(arguments(ready / "runs", disk / "store"), tmp_path / "log")
    assert code == 2
    for run in ("a", "b"):
        assert f"failed: {disk / 'store'}: run {run}: cannot read or write: " in said, said
    assert "No space left on device" in said
    assert "free some space there, then run the same command again: what was finished is kept" in said
    assert "Traceback" not in said
    assert StoreReader(disk / "store").run_ids() == []
    make_room()
    code, said = geodiag.run(arguments(ready / "runs", disk / "store"), tmp_path / "log")
    assert code == 0, said
    assert "of them from an earlier attempt" in said
    assert same_rows(disk / "store", ready / "whole")


FULL = """
import errno, os
from geodiag.jobs.restart import Staging
put, count = Staging.put, [0]
def full(self, part, rows):
    count[0] += 1
    if count[0] > 5 and self.run == "a":
        raise OSError(errno.{error}, os.strerror(errno.{error}), "somewhere")
    put(self, part, rows)
Staging.put = full
"""


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("ENOSPC", "free some space there"),
        ("ESTALE", "check that the mount is there"),
        ("EROFS", "make it writable"),
        ("EACCES", "check the permissions"),
    ],
)
def test_a_disk_that_fails_one_run_leaves_the_others(ready, geodiag, tmp_path, error, remedy):
    faults = FULL.format(error=error)
    code, said = geodiag.run(arguments(ready / "runs", tmp_path / "store"), tmp_path / "log", faults=faults)
    assert code == 1
    (line,) = [line for line in said.splitlines() if line.startswith("failed: ")]
    assert line.startswith(f"failed: {tmp_path / 'store'}: run a: cannot read or write: [Errno ")
    assert line.endswith(f"'somewhere'; {remedy}, then run the same command again: what was finished is kept")
    assert said.splitlines()[-1] == "1 done, 0 unchanged, 1 failed"
    assert StoreReader(tmp_path / "store").run_ids() == ["b"]


def test_a_store_on_a_mount_that_has_vanished(ready, geodiag, tmp_path):
    (tmp_path / "mnt").write_text("")
    code, said = geodiag.run(arguments(ready / "runs" / "a", tmp_path / "mnt" / "store"), tmp_path / "log")
    assert code == 2
    assert "Traceback" not in said
    assert f"{tmp_path / 'mnt' / 'store'}: run a: cannot read or write: [Errno 20] Not a directory" in said


def test_finished_layers_that_a_power_failure_tore_are_computed_again(long, geodiag, tmp_path):
    store = tmp_path / "store"
    pid = geodiag.start(arguments(long / "runs" / "a", store), tmp_path / "log")
    until(lambda: len(list((store / ".staging" / "parts").glob("a-*/model*"))) > 3)
    assert geodiag.kill_after(pid, 0) == -9
    torn = sorted((store / ".staging" / "parts").glob("a-*/model*/pairs.parquet"))[:2]
    for file in torn:
        file.write_bytes(b"")
    code, said = geodiag.run(arguments(long / "runs" / "a", store), tmp_path / "log")
    assert code == 2
    assert "run a: 2 of 280 finished parts could not be read back and were dropped; run it again" in said
    code, said = geodiag.run(arguments(long / "runs", store), tmp_path / "log")
    assert code == 0
    assert "280 layers, 278 of them from an earlier attempt" in said
    assert same_rows(store, long / "whole")


def test_what_nobody_foresaw_costs_its_run_only_and_debug_shows_where(ready, geodiag, tmp_path):
    faults = FULL.format(error="EIO").replace("raise OSError", "raise ZeroDivisionError('oh') from OSError")
    code, said = geodiag.run(arguments(ready / "runs", tmp_path / "store"), tmp_path / "log", faults=faults)
    assert code == 1
    assert (
        "failed: run a: unexpected ZeroDivisionError: oh; this is a mistake in geodiag; --debug shows where" in said
    ), said
    assert "Traceback" not in said
    command = ["--debug", *arguments(ready / "runs", tmp_path / "store")]
    _, said = geodiag.run(command, tmp_path / "log", faults=faults)
    assert "Traceback" in said


def test_too_little_memory():
    for cause in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")):
        problem = as_problem(cause, run="r", less="give a smaller --memory-budget")
        assert str(problem).startswith("run r: the memory is not enough (")
        assert str(problem).endswith("; give a smaller --memory-budget, then run the same command again")
    assert isinstance(as_problem(RuntimeError("shapes"), run="r"), UnexpectedError)


def test_a_missing_package_is_named_and_known_errors_stay_as_they_are():
    missing = ModuleNotFoundError("No module named 'transformers'", name="transformers.models")
    assert str(as_problem(missing, run="r")) == "run r: transformers is not installed; pip install 'geodiag[models]'"
    ours = ModuleNotFoundError("No module named 'geodiag.nowhere'", name="geodiag.nowhere")
    assert isinstance(as_problem(ours), UnexpectedError)
    assert as_problem(known := SettingsError("rank is 0")) is known
