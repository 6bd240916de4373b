"""Reproducible training: named random streams, fixed thread count."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

import numpy as np
import torch
from numpy.random import Generator

from geodiag.lab.config import LabConfig


def seed_of(*names: object) -> int:
    """A 32-bit seed from names, such as `seed_of("order", seed, "copy", "expert")`.

    The first four bytes of SHA-256 of the names, so that it is the same in every process and version.
    """
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big")


def generator_of(*names: object) -> Generator:
    """A generator seeded by `seed_of(*names)`."""
    return np.random.default_rng(seed_of(*names))


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
