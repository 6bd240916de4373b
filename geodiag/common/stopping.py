"""Stop signals of the operating system: SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
"""Ctrl-C, signals of schedulers and shutdowns, a closed terminal, and warnings before a time limit."""
GRACE = 5.0
"""Seconds between the signal and the end by force."""
HOW_TO_GO_ON = "what was finished is kept, the same command goes on from there"

_released_first: dict[int, Callable[[], None]] = {}


class Stopped(BaseException):
    """Raised in the main thread by a signal. Not an `Exception`, so that no handler of failures catches it."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(message(number))


def message(number: int) -> str:
    """The line printed when a signal ends the process."""
    return f"geodiag: stopped by {signal.Signals(number).name}; {HOW_TO_GO_ON}"


@contextmanager
def released_at_the_end(release: Callable[[], None]) -> Iterator[None]:
    """Call `release` before the process is ended by force, until the block is left."""
    _released_first[id(release)] = release
    try:
        yield
    finally:
        _released_first.pop(id(release), None)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn signals into `Stopped` while the block runs; no effect outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [getattr(signal, name) for name in STOP_SIGNALS if hasattr(signal, name)]
    # One that is ignored (`nohup`, a shell's background job) stays ignored.
    before = {number: signal.getsignal(number) for number in wanted}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    # Python's own handler waits until a running product returns; the byte that C writes here does not.
    woken = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    watch = threading.Thread(target=_watch, args=(ours, set(before)), name="geodiag-signals", daemon=True)
    watch.start()
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:  # schedulers send several; only the first one unwinds the stack
            raise Stopped(number)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    except KeyboardInterrupt as interrupt:  # a library handles Ctrl-C itself
        raise Stopped(signal.SIGINT) from interrupt
    except SystemExit as end:
        if end.code == 128 + signal.SIGINT:
            raise Stopped(signal.SIGINT) from end
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        theirs.close()  # which ends the watch
        # A library may have replaced the exception.
        if received and not isinstance(sys.exception(), Stopped):
            raise Stopped(received[0])


def leave(code: int) -> None:
    """End the process in the ordinary way, or by force where Python would wait for threads."""
    if threads_left():
        end_now(code)
    sys.exit(code)


def threads_left() -> bool:
    """Whether there are threads that Python waits for at exit."""
    return any(not t.daemon for t in threading.enumerate() if t is not threading.current_thread())


def end_now(code: int) -> None:
    """End the process without waiting for threads, which would go on computing."""
    for release in list(_released_first.values()):
        with suppress(Exception):
            release()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def _watch(waked: socket.socket, numbers: set[int]) -> None:
    """End the process some seconds after a signal, or when the same signal comes again; stop once the block is left.

    A different second signal does not count: a scheduler's warning is followed by its SIGTERM.
    """
    first = 0
    with waked:
        while not first:
            if not (byte := waked.recv(1)):
                return
            first = byte[0] if byte[0] in numbers else 0
        deadline = time.monotonic() + GRACE
        with suppress(TimeoutError):
            byte = b""
            while byte != bytes([first]):
                waked.settimeout(max(deadline - time.monotonic(), 1e-3))
                if not (byte := waked.recv(1)):
                    return
    print(message(first), file=sys.stderr)  # noqa: T201  (the console may be blocked)
    end_now(128 + first)
