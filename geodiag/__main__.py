"""`geodiag`, or `python -m geodiag`: the command line as a process of its own."""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path

from geodiag.cli import main
from geodiag.common.stopping import threads_left


def run() -> None:
    """Runs the command line and ends the process.

    Taking torch's modules apart at the end of Python takes half a second. Instead, once everything that is registered
    for the end has been done and everything is written, the system takes the process down as it is.
    """
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int | None) or _others_are_here():
            raise
        atexit._run_exitfuncs()
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None and not stream.closed:
                    stream.flush()
        except OSError:  # whoever read it is gone, which Python has a way of saying
            raise end from None
        os._exit(end.code or 0)


def _others_are_here() -> bool:
    """Whether this process does more than this command: threads that go on, or a notebook, debugger or profiler."""
    started = sys.modules["__main__"]
    ours = vars(started) is globals() or Path(getattr(started, "__file__", None) or "").stem == "geodiag"
    watched = sys.gettrace() or sys.getprofile() or sys.flags.inspect or _monitored()
    return bool(not ours or watched or threads_left())


def _monitored() -> bool:
    """Whether a profiler or debugger has itself told of what runs; from Python 3.12 on they need not trace."""
    monitoring = getattr(sys, "monitoring", None)
    return monitoring is not None and any(monitoring.get_tool(n) for n in range(6))


if __name__ == "__main__":
    run()
