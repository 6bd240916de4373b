import numpy as np
import pytest

from geodiag.signals import pair_signals, step_signals
from geodiag.tables import Options, compute_tables

from .planted import Planted, noise_runs, plant

QUICK = Options(resamples=99, permutations=99)


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Ten runs over two sizes and four methods; some scores and some steps' gradients are missing."""
    runs = noise_runs(1, runs=10, steps=6)
    runs[3] = _half_scored(runs[3])
    runs[6].gradients = False
    return plant(tmp_path_factory.mktemp("tables") / "store", runs)


@pytest.fixture(scope="session")
def tables(store):
    """All of its tables, with few draws."""
    return compute_tables(store, QUICK)


@pytest.fixture(scope="session")
def steps(store):
    return step_signals(store)


@pytest.fixture(scope="session")
def pairs(store):
    return pair_signals(store)


def _half_scored(run: Planted) -> Planted:
    rng = np.random.default_rng(0)
    matrix = [[None if rng.random() < 0.5 else round(rng.random(), 2) for _ in run.tasks] for _ in run.tasks]
    return Planted(run.name, size=run.size, method=run.method, forgetting=run.forgetting, matrix=matrix)
