"""The Gaussian barycenter by its optimality, by POT, and by the cases that have a closed form."""

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geodiag.geometry import bures_barycenter

TIGHT = {"iterations": 2000, "tol": 1e-12}
seeds = st.integers(0, 2**32 - 1)


def random_set(rng, m=3, q=6, *, floor=0.1):
    """m random positive definite matrices with eigenvalues from `floor` on."""
    A = rng.standard_normal((m, q, q))
    return torch.tensor(A @ A.transpose(0, 2, 1) / q + floor * np.eye(q))


def updates_set(rng, *, lam=1e-6, d=200, r=4, m=3):
    """Covariances of updates in their union basis: rank r, directions partly shared, plus lambda I."""
    shared = rng.standard_normal((d, r))
    frames = [np.linalg.qr(shared + rng.standard_normal((d, r)))[0] for _ in range(m)]
    Q = np.linalg.qr(np.concatenate(frames, axis=1))[0]
    covariances = [(Q.T @ V * (0.5 / np.arange(1, r + 1))) @ (Q.T @ V).T for V in frames]
    return torch.tensor(np.stack(covariances) + lam * np.eye(Q.shape[1]))


def random_weights(rng, m=3):
    return torch.tensor(rng.dirichlet(np.ones(m)))


def rotation(rng, q):
    return torch.tensor(np.linalg.qr(rng.standard_normal((q, q)))[0])


def bures_sq(A, B):
    """tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2 through the Cholesky factors, where autograd can follow."""
    nuclear = torch.linalg.svdvals(torch.linalg.cholesky(A).mT @ torch.linalg.cholesky(B)).sum()
    return A.trace() + B.trace() - 2 * nuclear


def test_gradient_of_the_weighted_distances_is_zero_there():
    rng = np.random.default_rng(0)
    B, w = random_set(rng), random_weights(rng)

    def gradient(at):
        S = at.clone().requires_grad_()
        sum(w_i * bures_sq(S, B_i) for w_i, B_i in zip(w, B, strict=True)).backward()
        return torch.linalg.matrix_norm((S.grad + S.grad.T) / 2).item()

    found = bures_barycenter(B, w, **TIGHT)
    assert found.converged
    assert gradient(found.matrix) < 1e-10
    assert gradient((w[:, None, None] * B).sum(0)) > 1e-2  # the arithmetic mean is no minimum


def test_residual_is_the_norm_of_the_gradient_wherever_the_iteration_stops():
    rng = np.random.default_rng(1)
    B, w = random_set(rng), random_weights(rng)
    found = bures_barycenter(B, w, iterations=1, tol=0.0)
    S = found.matrix.clone().requires_grad_()
    sum(w_i * bures_sq(S, B_i) for w_i, B_i in zip(w, B, strict=True)).backward()
    expected = torch.linalg.matrix_norm((S.grad + S.grad.T) / 2).item() / 6**0.5
    assert found.residual.item() == pytest.approx(expected, rel=1e-6)  # autograd's digits
    assert found.iterations == 1
    assert not found.converged


@pytest.mark.parametrize("floor", [0.1, 1e-3])
def test_equals_pot_on_full_rank_matrices(floor):
    rng = np.random.default_rng(2)
    B, w = random_set(rng, m=4, floor=floor), random_weights(rng, m=4)
    _, expected = ot.gaussian.bures_wasserstein_barycenter(
        np.zeros((4, 6)), B.numpy(), weights=w.numpy(), num_iter=5000, eps=1e-13
    )
    assert torch.allclose(bures_barycenter(B, w, **TIGHT).matrix, torch.tensor(expected), atol=1e-9)


def test_commuting_matrices_have_the_squared_mean_of_their_roots():
    rng = np.random.default_rng(3)
    U, w = rotation(rng, 5), random_weights(rng)
    values = torch.tensor(rng.random((3, 5)))
    found = bures_barycenter((U * values[:, None, :]) @ U.T, w)
    expected = (w[:, None] * values.sqrt()).sum(0).square()
    assert torch.allclose(found.matrix, (U * expected) @ U.T, atol=1e-13)
    assert found.iterations == 0


def test_two_matrices_meet_on_the_geodesic():
    """S(t) = [(1 - t) I + t T] A [(1 - t) I + t T], T the optimal map from A to B."""
    rng = np.random.default_rng(4)
    A, B = random_set(rng, m=2)
    values, U = torch.linalg.eigh(A)
    root, inverse = (U * values.sqrt()) @ U.T, (U * values.rsqrt()) @ U.T
    inner, W = torch.linalg.eigh(root @ B @ root)
    T = inverse @ ((W * inner.sqrt()) @ W.T) @ inverse
    step = 0.7 * torch.eye(6, dtype=torch.float64) + 0.3 * T
    found = bures_barycenter(torch.stack([A, B]), torch.tensor([0.7, 0.3], dtype=torch.float64), **TIGHT)
    assert torch.allclose(found.matrix, step @ A @ step, atol=1e-10)


@pytest.mark.parametrize("rank", [6, 2])
def test_equal_matrices_are_their_own_barycenter(rank):
    rng = np.random.default_rng(5)
    A = torch.tensor(rng.standard_normal((6, rank)))
    B = (A @ A.T).expand(4, 6, 6)
    assert torch.allclose(bures_barycenter(B, random_weights(rng, m=4), **TIGHT).matrix, B[0], atol=1e-12)


def test_matrices_without_a_common_direction_commute():
    B = torch.diag_embed(torch.tensor([[4.0, 0.0, 0.0], [0.0, 9.0, 0.0]], dtype=torch.float64))
    found = bures_barycenter(B, torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert torch.allclose(found.matrix, torch.diag(torch.tensor([1.0, 2.25, 0.0], dtype=torch.float64)), atol=1e-14)
    assert found.converged  # the third direction is nobody's, and does not count


def test_zero_matrices():
    found = bures_barycenter(torch.zeros(2, 3, 3, dtype=torch.float64), torch.ones(2, dtype=torch.float64))
    assert torch.equal(found.matrix, torch.zeros(3, 3, dtype=torch.float64))
    assert found.converged


def test_converges_to_the_default_tolerance_on_covariances_of_updates():
    rng = np.random.default_rng(6)
    B = torch.stack([updates_set(rng, r=16) for _ in range(4)])
    found = bures_barycenter(B, torch.ones(3, dtype=torch.float64))
    assert found.converged.all()
    tight = bures_barycenter(B, torch.ones(3, dtype=torch.float64), iterations=200, tol=1e-9)
    assert tight.converged.all()
    # The inverse root whitens with it, so the small eigenvalues must be right too, relative to themselves.
    assert torch.allclose(torch.linalg.eigvalsh(found.matrix), torch.linalg.eigvalsh(tight.matrix), rtol=1e-3)


def test_reports_that_it_did_not_converge():
    rng = np.random.default_rng(7)
    found = bures_barycenter(updates_set(rng), torch.ones(3, dtype=torch.float64), iterations=2)
    assert found.iterations == 2
    assert not found.converged
    assert found.residual > 1e-5


def test_a_set_does_not_depend_on_what_else_is_in_the_batch():
    rng = np.random.default_rng(8)
    easy, hard, w = random_set(rng, q=6), updates_set(rng, r=2), random_weights(rng)
    both = bures_barycenter(torch.stack([easy, hard]), w)
    assert both.iterations[0] < both.iterations[1]
    for n, B in enumerate((easy, hard)):
        alone = bures_barycenter(B, w)
        assert alone.iterations == both.iterations[n]
        assert torch.allclose(alone.matrix, both.matrix[n], rtol=1e-10, atol=0)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.5, -0.5]])
def test_refuses_weights_that_are_no_weights(weights):
    with pytest.raises(ValueError, match="must be 0 or more"):
        bures_barycenter(torch.eye(2, dtype=torch.float64).expand(2, 2, 2), torch.tensor(weights, dtype=torch.float64))


@settings(max_examples=20)
@given(seeds)
def test_barycenter_axioms(seed):
    rng = np.random.default_rng(seed)
    B, w = random_set(rng, q=4), random_weights(rng)
    order, R = torch.tensor(rng.permutation(3)), rotation(rng, 4)
    sets = torch.stack([B, B[order], B, 4 * B, R @ B @ R.T])
    S, reordered, rescaled_weights, scaled, rotated = bures_barycenter(
        sets, torch.stack([w, w[order], 7 * w, w, w]), **TIGHT
    ).matrix
    assert torch.equal(S, S.T)
    assert torch.allclose(reordered, S, atol=1e-9)
    assert torch.allclose(rescaled_weights, S, atol=1e-9)
    assert torch.allclose(scaled, 4 * S, atol=1e-9)
    assert torch.allclose(rotated, R @ S @ R.T, atol=1e-9)
    # tr S = sum_i w_i tr B_i less the least sum of distances, so the barycenter is never larger than the mean.
    assert S.trace() <= (w * B.diagonal(dim1=-2, dim2=-1).sum(-1)).sum() + 1e-12


@settings(max_examples=20)
@given(seeds)
def test_no_other_matrix_is_nearer(seed):
    rng = np.random.default_rng(seed)
    B, w = random_set(rng, q=4), random_weights(rng)

    def total(S):
        return sum(w_i * bures_sq(S, B_i) for w_i, B_i in zip(w, B, strict=True)).item()

    best = total(bures_barycenter(B, w, **TIGHT).matrix)
    assert all(total(other) >= best - 1e-12 for other in (*B, *random_set(rng, q=4)))
