"""Predicted products: right within what they say, and never multiplied out without need."""

import pytest
import torch

from geodiag.merging.products import KEPT, PathProduct, input_gram
from tests.merging.definitions import random_updates

C = [0.7, 0.2, 0.4]


def walk(steps, shape, generator):
    """Points along a slowly turning path from 0."""
    velocity, X = torch.randn(shape, generator=generator), torch.zeros(shape)
    for _ in range(steps):
        yield X
        velocity = 0.9 * velocity + 0.3 * torch.randn(shape, generator=generator)
        X = X + velocity


@pytest.fixture
def updates():
    return random_updates(0, d_out=96, d_in=300, decay=0.5, dtype=torch.float32)


def test_error_is_measured_and_kept_within_what_is_allowed(updates):
    H = input_gram(updates, C).double()
    target = torch.randn(96, 300, generator=torch.Generator().manual_seed(1))
    path = PathProduct(updates, C, directions=24)
    out = torch.empty_like(target)
    errors = []
    for X in walk(40, (96, 300), torch.Generator().manual_seed(2)):
        allowed = 0.03 * (X.double() @ H).norm().item()
        measured = path.add_to(target, X, allowed=allowed, out=out)
        true = (out.double() - target.double() - X.double() @ H).norm().item()
        assert measured == pytest.approx(true, rel=0.3, abs=1e-5 * target.norm().item())
        assert measured <= allowed
        errors.append(true)
    assert 3 < path.products < 40
    assert max(errors) > 0  # some were predicted


def test_nothing_is_multiplied_out_while_the_split_is_good_enough(updates):
    path = PathProduct(updates, C, directions=24)
    X = torch.randn(96, 300, generator=torch.Generator().manual_seed(3))
    out = torch.empty_like(X)
    error = path.add_to(torch.zeros_like(X), X, allowed=float("inf"), out=out)
    assert path.products == 0
    assert error == pytest.approx((out - X @ input_gram(updates, C)).norm().item(), rel=0.2)


def test_multiplied_out_is_exact(updates):
    path = PathProduct(updates, C, directions=24)
    H, out = input_gram(updates, C), torch.empty(96, 300)
    for n, X in enumerate(walk(2 * KEPT + 1, (96, 300), torch.Generator().manual_seed(4))):
        path.add_to(torch.zeros_like(X), X, allowed=0.0, out=out)
        assert path.products == n  # X = 0 needs no product
        assert torch.allclose(out, X @ H, rtol=1e-4, atol=1e-5 * H.norm().item() * X.norm().item())


def test_low_rank_updates_need_no_product_at_all():
    generator = torch.Generator().manual_seed(5)
    updates = [torch.randn(96, 8, generator=generator) @ torch.randn(8, 300, generator=generator) for _ in range(3)]
    path, H, out = PathProduct(updates, C, directions=30), input_gram(updates, C), torch.empty(96, 300)
    for X in walk(10, (96, 300), generator):
        scale = (X @ H).norm().item()
        path.add_to(torch.zeros_like(X), X, allowed=1e-4 * scale, out=out)
        assert torch.allclose(out, X @ H, atol=1e-3 * scale / 100)
    assert path.products == 0
