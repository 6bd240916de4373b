"""`geodiag`, or `python -m geodiag`: the command line as a process of its own."""

from __future__ import annotations

import atexit
import os
import sys
import threading

from geodiag.cli import main


def run() -> None:
    """Runs the command line and ends the process.

    Taking torch's modules apart at the end of Python takes half a second. Instead, once everything that is registered
    for the end has been done and everything is written, the system takes the process down as it is.
    """
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int | None) or _threads_left():
            raise
        atexit._run_exitfuncs()
        try:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        except OSError:  # whoever read it is gone, which Python has a way of saying
            raise end from None
        os._exit(end.code or 0)


def _threads_left() -> bool:
    """Whether there are threads that Python would wait for."""
    return any(not t.daemon for t in threading.enumerate() if t is not threading.current_thread())


if __name__ == "__main__":
    run()
