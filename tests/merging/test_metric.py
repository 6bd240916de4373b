"""Whitening and recoloring against dense matrices."""

import numpy as np
import pytest
import torch

from geodiag.geometry import right_spectrum
from geodiag.merging.metric import InputMetric, shared_metric, union_covariances
from tests.merging.definitions import dense_metric, geometry, power, random_updates

LAM = 1e-4


def spectrum_of(updates, *, rank=4, energy=0.9, lam=LAM):
    D = torch.stack(updates)
    return right_spectrum(D, D.norm(dim=(1, 2)), rank=rank, energy=energy, lam=lam, method="exact")


@pytest.fixture
def metric():
    updates = random_updates(0, d_out=10, d_in=16)
    return shared_metric(spectrum_of(updates), torch.ones(3, dtype=torch.float64), lam=LAM)[0]


def dense(metric):
    return dense_metric(metric.Q.numpy(), metric.B.numpy(), metric.lam)


def test_whitening_is_the_inverse_root_and_recoloring_the_root(metric):
    X = random_updates(1, m=1, d_out=10, d_in=16)[0]
    G = dense(metric)
    assert np.allclose(metric.whiten(X), X.numpy() @ power(G, -0.5), atol=1e-10)
    assert np.allclose(metric.recolor(X), X.numpy() @ power(G, 0.5), atol=1e-12)


def test_recoloring_undoes_whitening(metric):
    X = random_updates(2, m=1, d_out=10, d_in=16)[0]
    assert torch.allclose(metric.recolor(metric.whiten(X)), X, atol=1e-12)
    assert torch.allclose(metric.whiten(metric.recolor(X)), X, atol=1e-12)
    single = X.float()
    assert torch.allclose(metric.recolor(metric.whiten(single)), single, atol=1e-5 * X.abs().max().item())


def test_whitened_products_are_those_of_the_metric(metric):
    """<X G^-1/2, Y G^-1/2> = tr(X G^-1 Y'), ||X G^1/2||^2 = tr(X G X'), and recoloring is an isometry onto G^-1."""
    X, Y = (D.numpy() for D in random_updates(3, m=2, d_out=10, d_in=16))
    G, G_inverse = dense(metric), np.linalg.inv(dense(metric))
    wX, wY = (metric.whiten(torch.tensor(D)).numpy() for D in (X, Y))
    assert np.sum(wX * wY) == pytest.approx(np.trace(X @ G_inverse @ Y.T), rel=1e-9)
    assert np.sum(wX**2) == pytest.approx(np.trace(X @ G_inverse @ X.T), rel=1e-9)
    Z = metric.recolor(torch.tensor(X)).numpy()
    assert np.sum(Z**2) == pytest.approx(np.trace(X @ G @ X.T), rel=1e-9)
    assert np.trace(Z @ G_inverse @ Z.T) == pytest.approx(np.sum(X**2), rel=1e-9)


def test_outside_the_union_only_lambda_counts(metric):
    outside = torch.linalg.qr(metric.Q, mode="complete").Q[:, metric.Q.shape[1] :]
    X = torch.randn(5, outside.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0)) @ outside.T
    assert torch.allclose(metric.whiten(X), X / LAM**0.5, atol=1e-10)


def test_union_covariances_are_the_dense_ones():
    updates = random_updates(4, d_out=10, d_in=16)
    Q, B = union_covariances(spectrum_of(updates), lam=LAM, tol=1e-6)
    _, Q_dense, B_dense = geometry(updates, rank=4, energy=0.9, lam=LAM)
    assert Q.shape == Q_dense.shape
    for found, expected in zip(B, B_dense, strict=True):
        lifted = Q.numpy() @ found.numpy() @ Q.T.numpy()
        assert np.allclose(lifted, Q_dense @ expected @ Q_dense.T, atol=1e-12)


def test_overlapping_directions_are_counted_once():
    (D,) = random_updates(5, m=1, d_out=10, d_in=16)
    turned = torch.linalg.qr(torch.randn(10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).Q
    spectrum = spectrum_of([D, turned @ D])  # the same inputs, other outputs
    metric, found = shared_metric(spectrum, torch.ones(2, dtype=torch.float64), lam=LAM)
    assert metric.Q.shape[1] == spectrum.rank[0]
    assert torch.allclose(
        metric.Q @ metric.B @ metric.Q.T, (spectrum.V[0] * (spectrum.s[0] ** 2 + LAM)) @ spectrum.V[0].T
    )
    assert found.converged


def test_mean_metric_is_the_weighted_average():
    updates = random_updates(6, d_out=10, d_in=16)
    weights = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)
    metric, found = shared_metric(spectrum_of(updates), weights, lam=LAM, mean=True)
    _, Q, (B_1, B_2, B_3) = geometry(updates, rank=4, energy=0.9, lam=LAM)
    expected = Q @ (0.25 * B_1 + 0.5 * B_2 + 0.25 * B_3) @ Q.T
    assert np.allclose(metric.Q.numpy() @ metric.B.numpy() @ metric.Q.T.numpy(), expected, atol=1e-12)
    assert (found.iterations, found.converged) == (0, True)


def test_updates_without_geometry_leave_lambda_alone():
    tiny = random_updates(7, m=2, d_out=10, d_in=16, scale=1e-5)
    metric, _ = shared_metric(spectrum_of(tiny), torch.ones(2, dtype=torch.float64), lam=LAM)
    assert metric.Q.shape[1] == 0
    assert torch.allclose(metric.whiten(tiny[0]), tiny[0] / LAM**0.5)


def test_eigenvalues_under_lambda_by_rounding_do_no_harm():
    metric = InputMetric(
        torch.eye(3, dtype=torch.float64)[:, :2], torch.diag(torch.tensor([1.0, -1e-18]).double()), LAM
    )
    assert torch.allclose(metric.whiten(torch.eye(3).double()), torch.diag(torch.tensor([1.0, 100.0, 100.0]).double()))
