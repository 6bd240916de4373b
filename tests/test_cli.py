"""The command line from outside: exit codes, one line an error, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from geodiag import __version__
from geodiag.cli import main
from geodiag.errors import GeodiagError
from geodiag.store import StoreReader
from tests import synthetic


@pytest.fixture
def geodiag(capsys):
    """Runs the command in this process, checks its exit code and returns what it wrote."""

    def run(*arguments, expect=0):
        with pytest.raises(SystemExit) as stopped:
            main([str(a) for a in arguments])
        written = capsys.readouterr()
        assert (stopped.value.code or 0) == expect, written.err
        return written

    return run


def test_extract(tmp_path, geodiag):
    synthetic.write_run(tmp_path / "runs" / "a", run="a", steps=2)
    first = geodiag("extract", tmp_path / "runs", "--store", tmp_path / "store", "--device", "cpu", "--lambda", "1e-5")
    assert "a: extracted 7 layers" in first.out
    assert "1 done, 0 unchanged, 0 failed" in first.out
    assert StoreReader(tmp_path / "store").config("a")["lambda"] == 1e-5
    silent = geodiag("-q", "extract", tmp_path / "runs", "--store", tmp_path / "store", "--lambda", "1e-5")
    assert silent.out + silent.err == ""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["extract", "nowhere", "--store", "s"], "geodiag: nowhere: no such file or folder"),
        (["extract", "RUN", "--store", "s", "--rank", "0"], "rank is 0; it must be a whole number from 1"),
        (["extract", "RUN", "--store", "s", "--families", "q_proj,nope"], "unknown family 'nope'; one of q_proj,"),
        (["extract", "RUN", "--store", "s", "--device", "tpu9"], "unknown device 'tpu9'; one of auto, cpu"),
        (["extract", "RUN", "--store", "s", "--layers", "("], "no regular expression"),
        (["extract", "RUN", "--store", "s", "--read", "fast"], "--read: reading is 'fast'; one of mmap, buffered"),
        (["extract", "RUN", "--store", "s", "--preset", "old"], "unknown preset 'old'; one of paper, release"),
        (["analyze", "nowhere", "--out", "o"], "nowhere"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_wrong_input_is_one_line_and_exit_2(tmp_path, geodiag, arguments, line):
    run = synthetic.write_run(tmp_path / "run", steps=1)
    result = geodiag(*[str(run) if a == "RUN" else a for a in arguments], expect=2)
    assert line in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_some_failed_is_exit_1(tmp_path, geodiag):
    synthetic.write_run(tmp_path / "runs" / "a", run="a", steps=1)
    (tmp_path / "runs" / "b").mkdir()
    (tmp_path / "runs" / "b" / "run.yaml").write_text("run: b\n")
    result = geodiag("extract", tmp_path / "runs", "--store", tmp_path / "store", "--device", "cpu", expect=1)
    assert "failed:" in result.err
    assert "1 done, 0 unchanged, 1 failed" in result.out


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(GeodiagError, match="no such file or folder"):
        main(["--debug", "extract", str(tmp_path / "none"), "--store", "s"])


def test_from_the_shell_there_is_no_traceback(tmp_path):
    command = [sys.executable, "-m", "geodiag", "analyze", str(tmp_path / "none"), "--out", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("geodiag: ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_version_and_help(geodiag):
    assert geodiag("--version").out.strip() == __version__
    assert "extract" in geodiag("--help").out


def test_a_full_disk_is_one_line(tmp_path):
    """Its own standard output is one."""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "geodiag", "--help"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "geodiag: cannot read or write: [Errno 28] No space left on device; free some space there, then run the same"
        " command again"
    ]


@pytest.mark.parametrize("command", ["analyze", "figures"])
def test_where_nothing_can_be_written_is_one_line(tmp_path, geodiag, command):
    synthetic.write_run(tmp_path / "run", steps=3)
    geodiag("-q", "extract", tmp_path / "run", "--store", tmp_path / "store", "--device", "cpu")
    (tmp_path / "file").write_text("")
    result = geodiag(command, tmp_path / "store", "--out", tmp_path / "file" / "out", expect=2)
    (line,) = result.err.strip().splitlines()
    assert line.startswith("geodiag: cannot read or write: [Errno 20] Not a directory: ")
    assert str(tmp_path / "file") in line


def test_a_mistake_of_ours_says_so_and_debug_shows_where(monkeypatch, geodiag):
    def broken(*_arguments, **_options):
        raise KeyError("oh")

    monkeypatch.setattr("geodiag.demo.run_demo", broken)
    result = geodiag("demo", "--out", "d", expect=2)
    assert result.err == "geodiag: unexpected KeyError: 'oh'; this is a mistake in geodiag; --debug shows where\n"
    with pytest.raises(KeyError):
        main(["--debug", "demo", "--out", "d"])


BESIDE = """
import atexit, tempfile, threading
room = tempfile.TemporaryDirectory(dir={folder!r})
atexit.register(print, "registered", end="")
def late():
    threading.main_thread().join()  # goes on when all else is done, however long that took
    print("late", end=" ", flush=True)
class Module:
    def __del__(self):
        print(" apart", end="")
kept = Module()
if {thread}:
    threading.Thread(target=late).start()
"""


@pytest.mark.parametrize(("thread", "said"), [(False, "registered"), (True, "late registered apart")])
def test_nothing_is_left_undone_at_the_end_of_the_process(tmp_path, thread, said):
    """Buffered output, what is registered for the end, temporary folders; where a thread goes on, Python ends it."""
    (tmp_path / "room").mkdir()
    (tmp_path / "sitecustomize.py").write_text(BESIDE.format(folder=str(tmp_path / "room"), thread=thread))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "geodiag", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{__version__}\n{said}"
    assert list((tmp_path / "room").iterdir()) == []


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize(("arguments", "code"), [("--version", 0), ("analyze nowhere --out o", 2)])
def test_closed_streams_change_no_exit_code(closed, arguments, code):
    assert subprocess.run(f"{sys.executable} -m geodiag {arguments} {closed}", shell=True).returncode == code


AS_A_GUEST = """
import runpy, sys
sys.argv[1:] = ["--version"]
try:
    runpy.run_module("geodiag", run_name="__main__")
except SystemExit as end:
    print("and on", end.code)
"""


def test_the_process_of_someone_else_goes_on():
    result = subprocess.run([sys.executable, "-c", AS_A_GUEST], capture_output=True, text=True)
    assert result.stdout == f"{__version__}\nand on 0\n"
    command = [sys.executable, "-m", "cProfile", "-m", "geodiag", "--version"]
    assert "function calls" in subprocess.run(command, capture_output=True, text=True).stdout
