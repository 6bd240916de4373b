import random

import pytest

from geodiag.store import StoreReader

from .simulate import simulate, write

OPTIONS = [
    ("all", {"steps": 5, "memory": "all"}),
    ("one", {"steps": 1, "memory": "all"}),
    ("last-two", {"steps": 4, "memory": 2}),
    ("last-one", {"steps": 3, "memory": 1, "gradients": False}),
    ("anchor", {"steps": 4, "memory": "anchor"}),
    ("3", {"steps": 6, "memory": 3, "lam": 1e-8, "scored": 0.6, "overall": False}),
    ("unscored", {"steps": 3, "memory": "all", "scored": 0.0, "gradients": False}),
    ("half-scored", {"steps": 6, "memory": "all", "scored": 0.5, "base": False, "layers": 4}),
    ("nothing-moved", {"steps": 3, "memory": "all", "zero": 1.0}),
    ("whole", {"steps": 4, "memory": "all", "zero": 0.0, "layers": 1}),
]


@pytest.fixture(scope="session")
def runs():
    """Random runs of different lengths and memories, by name."""
    return {name: simulate(random.Random(name), name, **options) for name, options in OPTIONS}


@pytest.fixture(scope="session")
def store(runs, tmp_path_factory):
    """The same runs, in a store."""
    path = tmp_path_factory.mktemp("signals") / "store"
    write(path, list(runs.values()))
    return StoreReader(path)
