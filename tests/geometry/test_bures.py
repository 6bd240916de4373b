"""Bures geometry against dense square roots, POT, and its axioms."""

import numpy as np
import ot
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodiag.geometry import bures_distance, bures_fidelity, cross_gram, pair_geometry, rank_tolerance
from tests import oracle

TOL = rank_tolerance(torch.float64)
LAM = 1e-6


def spectrum(rng, d, r, *, scale=1.0, within=None):
    """A random (V, s) with r directions, inside the span of `within` where given."""
    A = rng.standard_normal((d, r)) if within is None else within @ rng.standard_normal((within.shape[1], r))
    return np.linalg.qr(A)[0], np.sort(scale * rng.random(r) + 0.05)[::-1].copy()


def padded(V, s, k):
    """Zero columns and values up to width k, as a batch of spectra has them."""
    return (
        torch.tensor(np.pad(V, ((0, 0), (0, k - V.shape[1])))),
        torch.tensor(np.pad(s, (0, k - len(s)))),
    )


def geometry(i, j, *, lam=LAM, k=None):
    k = k or max(len(i[1]), len(j[1]))
    (V_i, s_i), (V_j, s_j) = padded(*i, k), padded(*j, k)
    return pair_geometry(s_i, s_j, V_i.T @ V_j, lam=lam, tol=TOL)


def pairs_of_every_kind(rng):
    """Disjoint, overlapping, nested, identical, and of unequal rank."""
    d = 24
    a = spectrum(rng, d, 5)
    shared = np.concatenate([a[0][:, :3], spectrum(rng, d, 2)[0]], axis=1)
    return {
        "generic": (a, spectrum(rng, d, 5)),
        "unequal ranks": (a, spectrum(rng, d, 2)),
        "three shared directions": (a, (np.linalg.qr(shared)[0], spectrum(rng, d, 5)[1])),
        "nested": (a, spectrum(rng, d, 2, within=a[0])),
        "same span": (a, spectrum(rng, d, 5, within=a[0])),
        "identical": (a, a),
        "orthogonal": ((np.eye(d)[:, :3], a[1][:3]), (np.eye(d)[:, 3:6], a[1][:3])),
        "small updates": (spectrum(rng, d, 4, scale=1e-3), spectrum(rng, d, 4, scale=1e-3)),
    }


KINDS = list(pairs_of_every_kind(np.random.default_rng(0)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lam", [1e-6, 1e-2])
def test_pair_equals_dense_square_roots_in_an_explicit_basis(kind, lam):
    i, j = pairs_of_every_kind(np.random.default_rng(1))[kind]
    Q = oracle.union_basis([i[0], j[0]])
    A, B = oracle.covariance(*i, Q, lam=lam), oracle.covariance(*j, Q, lam=lam)
    found = geometry(i, j, lam=lam, k=7)
    assert found.union_rank == Q.shape[1]
    assert found.trace_i.item() == pytest.approx(np.trace(A), rel=1e-12)
    assert found.trace_j.item() == pytest.approx(np.trace(B), rel=1e-12)
    # the oracle's own square roots of eigenvalues near lambda^2 are only good to about sqrt(eps) of the trace
    assert found.bures_sq.item() == pytest.approx(oracle.bures_sq(A, B), abs=2e-7 * np.trace(A + B))
    assert found.conflict.item() == pytest.approx(oracle.conflict(i, j, Q, lam=lam), abs=2e-7)
    assert found.lambda_share.item() == pytest.approx(2 * lam * Q.shape[1] / np.trace(A + B), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_distance_equals_pot(kind):
    i, j = pairs_of_every_kind(np.random.default_rng(2))[kind]
    Q = oracle.union_basis([i[0], j[0]])
    A, B = oracle.covariance(*i, Q, lam=1e-3), oracle.covariance(*j, Q, lam=1e-3)
    zero = np.zeros(len(A))
    expected = ot.gaussian.bures_wasserstein_distance(zero, zero, A, B) ** 2
    assert geometry(i, j, lam=1e-3).bures_sq.item() == pytest.approx(expected, abs=1e-7 * np.trace(A + B))


@pytest.mark.parametrize("kind", KINDS)
def test_fidelity_without_lambda_is_a_nuclear_norm(kind):
    """As lambda goes to 0 the fidelity tends to || diag(s_i) V_i'V_j diag(s_j) ||_*."""
    i, j = pairs_of_every_kind(np.random.default_rng(3))[kind]
    nuclear = np.linalg.norm(np.diag(i[1]) @ i[0].T @ j[0] @ np.diag(j[1]), ord="nuc")
    s_i, s_j, C = torch.tensor(i[1]), torch.tensor(j[1]), torch.tensor(i[0].T @ j[0])
    assert bures_fidelity(s_i, s_j, C, lam=0.0).item() == pytest.approx(nuclear, rel=1e-12, abs=1e-14)
    # each of at most 10 coordinates adds at most sqrt(lambda) times a root of the traces
    assert bures_fidelity(s_i, s_j, C, lam=1e-14).item() == pytest.approx(nuclear, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_larger_union_basis_changes_only_the_traces(kind):
    """Off the pair's span both covariances are lambda I: same distance, lambda more trace for each extra column."""
    rng = np.random.default_rng(4)
    i, j = pairs_of_every_kind(rng)[kind]
    small = oracle.union_basis([i[0], j[0]])
    large = oracle.union_basis([i[0], j[0], np.linalg.qr(rng.standard_normal((24, 6)))[0]])
    lam, extra = 1e-2, large.shape[1] - small.shape[1]
    A, B = oracle.covariance(*i, large, lam=lam), oracle.covariance(*j, large, lam=lam)
    found = geometry(i, j, lam=lam)
    assert extra > 0
    assert found.bures_sq.item() == pytest.approx(oracle.bures_sq(A, B), abs=1e-7)
    assert (found.trace_i + lam * extra).item() == pytest.approx(np.trace(A), rel=1e-12)


@pytest.mark.parametrize("lam", [0.0, 1e-6])
def test_padding_is_exact(lam):
    i, j = pairs_of_every_kind(np.random.default_rng(5))["three shared directions"]
    tight, wide = geometry(i, j, lam=lam), geometry(i, j, lam=lam, k=12)
    for name, value in vars(tight).items():
        torch.testing.assert_close(getattr(wide, name), value, rtol=1e-12, atol=1e-13)


def test_self_distance_is_zero_and_never_nan():
    rng = np.random.default_rng(6)
    for _ in range(50):
        a = spectrum(rng, 16, 4)
        found = geometry(a, a)
        assert 0 <= found.conflict.item() < 1e-12
        assert found.union_rank == 4


def test_orthogonal_equal_spectra_are_in_full_conflict_as_lambda_vanishes():
    """With no shared direction the fidelity is 0, so d2 = tr + tr and gamma = 1."""
    s = torch.tensor([2.0, 1.0], dtype=torch.float64)
    found = pair_geometry(s, s, torch.zeros(2, 2, dtype=torch.float64), lam=0.0, tol=TOL)
    assert found.bures_sq.item() == pytest.approx(10.0)
    assert found.conflict.item() == pytest.approx(1.0)


def test_commuting_covariances_by_hand():
    """Same directions: d2 = sum_k (s_ik - s_jk)^2, here (3 - 1)^2 + (2 - 2)^2 = 4, traces 13 and 5."""
    s_i, s_j = torch.tensor([3.0, 2.0]).double(), torch.tensor([1.0, 2.0]).double()
    found = pair_geometry(s_i, s_j, torch.eye(2).double(), lam=0.0, tol=TOL)
    assert found.bures_sq.item() == pytest.approx(4.0)
    assert found.conflict.item() == pytest.approx(4 / 18)


def test_no_geometry_gives_nan():
    rng = np.random.default_rng(7)
    V, s = spectrum(rng, 8, 3)
    found = geometry((V, s), (np.zeros((8, 0)), np.zeros(0)), k=3)
    assert found.bures_sq.isnan()
    assert found.conflict.isnan()
    assert found.lambda_share.isnan()


def test_negative_lambda_is_refused():
    s = torch.ones(1).double()
    with pytest.raises(ValueError, match="lam is -1"):
        pair_geometry(s, s, torch.ones(1, 1).double(), lam=-1.0, tol=TOL)


def test_cross_gram_holds_every_pair():
    g = torch.Generator().manual_seed(0)
    V = torch.randn(3, 9, 2, dtype=torch.float64, generator=g)
    W = torch.randn(4, 9, 3, dtype=torch.float64, generator=g)
    C = cross_gram(V, W)
    assert C.shape == (3, 4, 2, 3)
    for i in range(3):
        for j in range(4):
            torch.testing.assert_close(C[i, j], V[i].T @ W[j])


@given(seed=st.integers(0, 2**32 - 1), r=st.integers(1, 5), q=st.integers(1, 5), power=st.integers(-4, 2))
def test_axioms(seed, r, q, power):
    """Symmetry, range, rotation invariance, and the triangle inequality of the distance itself."""
    rng = np.random.default_rng(seed)
    i, j, h = (spectrum(rng, 12, n, scale=10.0**power) for n in (r, q, 3))
    ij, ji = geometry(i, j), geometry(j, i)
    assert 0 <= ij.conflict.item() <= 1
    assert ij.bures_sq.item() == pytest.approx(ji.bures_sq.item(), rel=1e-9, abs=1e-13 * 10.0 ** (2 * power))
    R = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    turned = geometry((R @ i[0], i[1]), (R @ j[0], j[1]))
    assert turned.conflict.item() == pytest.approx(ij.conflict.item(), abs=1e-10)
    root = [g.bures_sq.sqrt().item() for g in (ij, geometry(i, h), geometry(h, j))]
    assert root[0] <= root[1] + root[2] + 1e-7 * 10.0**power


def test_distance_scales_with_the_square_of_the_updates():
    rng = np.random.default_rng(8)
    (V, s), (W, t) = spectrum(rng, 12, 4), spectrum(rng, 12, 4)
    C = torch.tensor(V.T @ W)
    one = bures_distance(torch.tensor(s), torch.tensor(t), C, lam=0.0)
    three = bures_distance(torch.tensor(3 * s), torch.tensor(3 * t), C, lam=0.0)
    assert three.item() == pytest.approx(9 * one.item(), rel=1e-12)


def test_global_gap_is_state_gap_times_two_over_t_plus_one():
    """Fact behind the paper's headline signal: in one union basis, as lambda -> 0, the gap over all pairs of
    {S} and A_t less that over A_t is 2 / (t + 1) times the mean state pair less the mean active pair."""
    rng = np.random.default_rng(9)
    for t in (2, 3, 6):
        tasks = [spectrum(rng, 40, 4) for _ in range(t)]
        state = spectrum(rng, 40, 5)
        Q = oracle.union_basis([state[0], *(V for V, _ in tasks)])
        lam = 1e-12
        active = [oracle.conflict(a, b, Q, lam=lam) for n, a in enumerate(tasks) for b in tasks[:n]]
        to_state = [oracle.conflict(state, a, Q, lam=lam) for a in tasks]
        global_gap = np.mean(active + to_state) - np.mean(active)
        state_gap = np.mean(to_state) - np.mean(active)
        assert global_gap == pytest.approx(2 / (t + 1) * state_gap, abs=1e-7)
