"""A model and tasks small enough that a training step takes a few milliseconds."""

import pytest
import torch

from geodiag.lab.config import ModelShape
from geodiag.lab.data import encode_items
from geodiag.lab.model import build_model, build_tokenizer
from geodiag.lab.suite import build_suite

TINY = ModelShape(layers=1, width=16, heads=2, kv_heads=1, ffn=24)
COUNTS = (64, 16, 4)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer():
    return build_tokenizer()


@pytest.fixture
def model(tokenizer):
    return build_model(TINY, tokenizer=tokenizer, seed=5)


@pytest.fixture(scope="session")
def tasks():
    return {task.name: task for task in build_suite(["copy", "facts", "count"], seed=0, counts=COUNTS)}


@pytest.fixture(scope="session")
def encoded(tokenizer, tasks):
    return {name: encode_items(tokenizer, task.train) for name, task in tasks.items()}
