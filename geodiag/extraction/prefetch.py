"""Reading ahead: while updates are computed, the weights of the next ones come from disk and onto the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import Condition, Thread
from types import TracebackType

Call = tuple[int, Callable[[], None]]
"""How many calls may be ahead of the consumer once this one is made, and the call."""


class Prefetch:
    """One thread that makes calls in order, some way ahead of their consumer and no further.

    Args:
        calls: what to do, in the order in which the consumer needs it; taken lazily, in the thread. A call keeps its
            own errors for the consumer, who meets them where the result is used.
    """

    def __init__(self, calls: Iterable[Call]) -> None:
        self._calls: Iterator[Call] = iter(calls)
        self._ahead, self._stopped = 0, False
        self._changed = Condition()
        self._thread = Thread(target=self._run, name="geodiag-prefetch", daemon=True)

    def __enter__(self) -> Prefetch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def done(self, count: int) -> None:
        """The consumer is through with `count` more."""
        with self._changed:
            self._ahead -= count
            self._changed.notify()

    def _run(self) -> None:
        for most, call in self._calls:
            with self._changed:
                while not self._stopped and self._ahead >= most:
                    self._changed.wait()
                if self._stopped:
                    return
                self._ahead += 1
            call()
