import numpy as np
import pytest

from geodiag.explain import StoreEvidence
from geodiag.store import StoreReader

from . import planted
from .planted import FAMILIES, Plan

CAUSES = ("none", "family", "not learnt", "repeat", "small update", "large update", "block")
SEEDS = range(10)


def plan(cause, seed):
    """The seeded case of a cause: which step and which family are drawn."""
    rng = np.random.default_rng([CAUSES.index(cause), seed])
    family = str(rng.choice(list(FAMILIES)))
    name = f"{cause.replace(' ', '-')}-{seed}"
    number = 100 * CAUSES.index(cause) + seed
    return Plan(name, number, cause, step=int(rng.integers(3, 9)), family=family, gradients=seed == 0)


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    """Ten runs of every cause in one store."""
    store = tmp_path_factory.mktemp("explain") / "store"
    planted.write(store, [plan(cause, seed) for cause in CAUSES for seed in SEEDS])
    return StoreEvidence(StoreReader(store))
