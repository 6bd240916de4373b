"""WUDI by its definition: autograd, torch's Adam, and least squares."""

import numpy as np
import pytest
import torch

from geodiag.merging.products import coefficients, half_gradient, input_gram
from geodiag.merging.rules.wudi import WudiSettings, wudi
from tests.merging.definitions import random_updates, wudi_by_adam, wudi_objective

SHAPES = [(12, 20), (20, 12), (9, 9)]
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(("d_out", "d_in"), SHAPES)
def test_gradient_is_that_of_the_objective(d_out, d_in):
    updates = random_updates(0, d_out=d_out, d_in=d_in)
    M = random_updates(1, m=1, d_out=d_out, d_in=d_in)[0].requires_grad_()
    wudi_objective(M, updates, WEIGHTS).backward()
    c = coefficients(updates, WEIGHTS)
    assert torch.allclose(2 * half_gradient(M.detach(), updates, c), M.grad, rtol=1e-10, atol=1e-14)
    H = input_gram(updates, c)
    R = sum(c_i * D @ D.T @ D for c_i, D in zip(c, updates, strict=True))
    assert torch.allclose(2 * (M.detach() @ H - R), M.grad, rtol=1e-10, atol=1e-14)
    assert H.trace().item() == pytest.approx(1.0)  # the sum of the weights
    assert torch.allclose(H, H.T, rtol=1e-12)


@pytest.mark.parametrize(("d_out", "d_in"), SHAPES)
@pytest.mark.parametrize(("lr", "iterations"), [(1e-5, 100), (1e-2, 300)])
def test_iterations_are_those_of_autograd_and_adam(d_out, d_in, lr, iterations):
    updates = random_updates(2, d_out=d_out, d_in=d_in)
    expected = wudi_by_adam(updates, WEIGHTS, lr=lr, iterations=iterations)
    found = wudi(updates, WEIGHTS, WudiSettings(lr=lr, iterations=iterations, tolerance=0))
    start = sum(updates)
    assert relative(found.update - start, expected - start) < 1e-6
    assert (found.products, found.gradient_error) == (iterations, 0.0)


def test_small_layers_are_multiplied_out_whatever_the_tolerance():
    updates = random_updates(3)
    exact = wudi(updates, WEIGHTS, WudiSettings(tolerance=0))
    assert torch.equal(wudi(updates, WEIGHTS, WudiSettings(tolerance=0.1)).update, exact.update)


@pytest.mark.parametrize(("scale", "most"), [(0.03, (25, 50)), (0.3, (6, 15)), (30.0, (0, 1))])
def test_predicted_products_give_the_same_merge_within_the_tolerance(scale, most):
    """From updates that the iterations move by about their own size to those that they hardly move."""
    updates = random_updates(4, d_out=96, d_in=1024, scale=scale, decay=0.3, dtype=torch.float32)
    start = sum(updates)
    exact = wudi(updates, WEIGHTS, WudiSettings(tolerance=0)).update
    # Adam's steps are nearly signs where the gradient is large against its epsilon, so that the way it goes is off
    # by more than the gradient: entries about zero change theirs.
    for tolerance, off, products in zip((0.005, 0.0005), (0.01, 0.003), most, strict=True):
        found = wudi(updates, WEIGHTS, WudiSettings(tolerance=tolerance))
        assert relative(found.update - start, exact - start) < off
        assert 0 < found.gradient_error < 1.3 * tolerance  # the estimate scatters by some 5 % at 96 rows
        assert found.products <= products


def test_exact_is_the_minimum():
    updates = random_updates(5, m=2, d_out=8, d_in=30)
    M = wudi(updates, WEIGHTS[:2], WudiSettings(solver="exact", ridge=0)).update.requires_grad_()
    wudi_objective(M, updates, WEIGHTS[:2]).backward()
    assert M.grad.norm() < 1e-12
    # H has rank 16 of 30: where no update acts, the minimum of least norm does not either.
    _, _, Vh = torch.linalg.svd(torch.cat(updates))
    assert (M @ Vh[16:].T).norm() < 1e-10


@pytest.mark.parametrize("ridge_to", ["start", "zero"])
def test_ridge_is_a_penalised_least_squares_problem(ridge_to):
    updates, ridge = random_updates(6), 1e-3
    target = sum(updates) if ridge_to == "start" else torch.zeros_like(updates[0])
    roots = [w**0.5 / D.norm() for w, D in zip(WEIGHTS, updates, strict=True)]
    # minimise ||A M' - b||^2, one block of rows for each update and one for the penalty
    A = torch.cat([*(r * D for r, D in zip(roots, updates, strict=True)), ridge**0.5 * torch.eye(20).double()])
    b = torch.cat([*(r * D @ D.T for r, D in zip(roots, updates, strict=True)), ridge**0.5 * target.T])
    expected = torch.tensor(np.linalg.lstsq(A.numpy(), b.numpy(), rcond=None)[0].T)
    found = wudi(updates, WEIGHTS, WudiSettings(solver="exact", ridge=ridge, ridge_to=ridge_to)).update
    assert relative(found, expected) < 1e-9


def test_ridge_filters_between_the_start_and_the_minimum():
    updates = random_updates(7)
    start = sum(updates)
    minimum = wudi(updates, WEIGHTS, WudiSettings(solver="exact", ridge=0)).update
    ways = [
        (wudi(updates, WEIGHTS, WudiSettings(solver="exact", ridge=ridge)).update - start).norm()
        for ridge in (1e6, 1e-1, 1e-3, 1e-12)
    ]
    assert ways[0] < 1e-5 * start.norm()
    assert ways == sorted(ways)
    assert ways[-1].item() == pytest.approx((minimum - start).norm().item(), rel=1e-4)


@pytest.mark.parametrize("solver", ["adam", "exact"])
def test_one_update_is_its_own_merge(solver):
    (D,) = random_updates(8, m=1)
    assert torch.equal(wudi([D], torch.ones(1), WudiSettings(solver=solver)).update, D)


def test_a_zero_update_takes_no_part():
    A, B = random_updates(9, m=2)
    settings = WudiSettings(lr=1e-3)
    with_zero = wudi([A, torch.zeros_like(A), B], WEIGHTS, settings).update
    assert torch.equal(with_zero, wudi([A, B], WEIGHTS[[0, 2]], settings).update)


def test_interference_falls_below_that_of_the_sum():
    updates = random_updates(10)
    found = wudi(updates, WEIGHTS, WudiSettings(lr=1e-3, iterations=300)).update
    minimum = wudi(updates, WEIGHTS, WudiSettings(solver="exact", ridge=0)).update
    at = [wudi_objective(M, updates, WEIGHTS).item() for M in (minimum, found, sum(updates))]
    assert at == sorted(at)
