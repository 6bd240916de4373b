"""`geodiag` in processes of their own that start in milliseconds: one process imports everything and forks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path


class Forks:
    """A process that runs `geodiag` commands in children of its own."""

    def __init__(self, process):
        self._process = process

    def start(self, arguments, log, *, variables=None, faults=None):
        """Begins `geodiag <arguments>`, its output in `log`; returns the process id."""
        order = {"start": [str(a) for a in arguments], "log": str(log), "env": variables or {}, "faults": faults or ""}
        return self._ask(order)

    def wait(self, pid):
        """The exit code of a command; a signal's number below zero where one ended it."""
        return self._ask({"wait": pid})

    def run(self, arguments, log, **options):
        """Runs a command to its end; its exit code and what it wrote."""
        code = self.wait(self.start(arguments, log, **options))
        return code, Path(log).read_text()

    def kill_after(self, pid, seconds, *, once=None):
        """SIGKILL after some seconds, counted from when a file that fits `once` is there; its exit code."""
        return self._ask({"kill": pid, "after": seconds, "once": None if once is None else [str(p) for p in once]})

    def _ask(self, order):
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def forks():
    """The process that forks, until the block ends."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.jobs.forks"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield Forks(process)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(60)


def _serve():
    import geodiag.cli
    import geodiag.jobs.slurm  # everything that a command would import, before the first fork

    for line in sys.stdin:
        order = json.loads(line)
        if "start" in order:
            answer = _fork(order, geodiag.cli.main)
        elif "kill" in order:
            answer = _kill(order)
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _fork(order, main):
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        log = os.open(order["log"], os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order["env"])
        exec(order["faults"], {})  # what a test breaks in this process alone
        main(order["start"])
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _kill(order):
    pid = order["kill"]
    ended, status = os.waitpid(pid, os.WNOHANG)
    while order["once"] and not ended and not list(Path(order["once"][0]).glob(order["once"][1])):
        ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        time.sleep(order["after"])
        os.kill(pid, signal.SIGKILL)  # a child that has ended is there until it is waited for
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    _serve()
