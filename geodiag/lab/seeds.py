"""Random streams by name, so that a stream depends on what it is for and never on what ran before it."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
from numpy.random import Generator


def seed_of(*names: object) -> int:
    """A 32-bit seed from names, such as `seed_of("order", seed, "copy", "expert")`.

    The first four bytes of SHA-256 of the names, so that it is the same in every process and version.
    """
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big")


def generator_of(*names: object) -> Generator:
    """A generator seeded by `seed_of(*names)`."""
    return np.random.default_rng(seed_of(*names))
