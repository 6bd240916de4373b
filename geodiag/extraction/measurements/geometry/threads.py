"""Threads that read weights ahead and measure several updates at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Condition, Thread
from types import TracebackType
from typing import Any, TypeVar

import torch

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


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Workers:
    """A few threads, each of which computes on one core; one worker is the calling thread itself.

    Large products that share a core's time between updates keep every core busy without the threads of one product
    waiting for each other, which on a machine that does other work as well takes four times as long. While the
    workers are there, torch is kept to one thread in each; on leaving, the calling thread has its own again.
    """

    def __init__(self, count: int) -> None:
        self.count = max(1, count)
        self._threads = torch.get_num_threads()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self.count > 1:
            torch.set_num_threads(1)
            self._pool = ThreadPoolExecutor(self.count, "geodiag", initializer=partial(torch.set_num_threads, 1))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
            torch.set_num_threads(self._threads)

    def start(self, call: Callable[..., _Result], *arguments: Any) -> Future[_Result]:
        """Begins a call; without threads of its own it is done on return."""
        if self._pool is not None:
            return self._pool.submit(call, *arguments)
        done: Future[_Result] = Future()
        done.set_result(call(*arguments))  # an exception leaves here, as it would from the call itself
        return done

    def map(self, call: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """Every item's result, in order. Where a call fails, those not yet begun are dropped and it raises here."""
        return list(map(call, items) if self._pool is None else self._pool.map(call, items))
