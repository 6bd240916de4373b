"""Threads that measure several updates of a layer at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import torch

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
        begun = [self.start(call, item) for item in items]
        try:
            return [one.result() for one in begun]
        except BaseException:
            for one in begun:
                one.cancel()
            raise
