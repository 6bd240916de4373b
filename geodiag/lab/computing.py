"""What holds while a run computes: its number of threads, and a garbage collector with little to do."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from geodiag.lab.config import LabConfig


@contextmanager
def computing(config: LabConfig) -> Iterator[None]:
    """The run's number of threads, and no garbage collection over what was imported.

    The Trainer collects garbage at each start; with everything imported so far set aside, that is nothing.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        torch.set_num_threads(before)
