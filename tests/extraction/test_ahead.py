"""Threads that compute and the one that reads ahead."""

import threading
import time

import pytest
import torch

from geodiag.extraction.measurements.geometry.threads import Prefetch, Workers


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.001)


def test_prefetch_stays_ahead_by_so_many_and_no_more():
    made = []
    with Prefetch((3, lambda n=n: made.append(n)) for n in range(10)) as ahead:
        wait_until(lambda: len(made) == 3)
        time.sleep(0.05)
        assert made == [0, 1, 2]
        ahead.done(2)
        wait_until(lambda: len(made) == 5)
    assert made == [0, 1, 2, 3, 4]  # leaving stops it, whatever is left


def test_prefetch_takes_its_calls_lazily():
    taken = []

    def calls():
        for n in range(10):
            taken.append(n)
            yield 1, lambda: None

    with Prefetch(calls()):
        wait_until(lambda: taken == [0, 1])
        time.sleep(0.05)
    assert taken == [0, 1]


@pytest.mark.parametrize("count", [1, 3])
def test_workers_keep_the_order_and_pass_errors_on(count):
    with Workers(count) as workers:
        assert workers.map(lambda n: n * n, range(20)) == [n * n for n in range(20)]
        with pytest.raises(ZeroDivisionError):
            workers.map(lambda n: 1 / n, [1, 0, 2])
        assert workers.start(lambda a, b: a + b, 2, 3).result() == 5


def test_workers_compute_at_once_with_one_thread_each_and_give_torch_its_own_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        both = threading.Barrier(2, timeout=10)
        with Workers(2) as workers:
            found = workers.map(lambda _: (both.wait(), torch.get_num_threads())[1], range(2))
        assert found == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
