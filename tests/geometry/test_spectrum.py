"""The truncated spectrum: exact, iterative, and where to cut."""

import numpy as np
import pytest
import torch

from geodiag.geometry import frobenius_norm, right_spectrum, truncate
from geodiag.geometry.spectrum import exact_right_vectors, krylov_right_vectors
from tests import oracle


def power_law(d_out, d_in, decay, *, seed):
    """A matrix with singular values k^-decay and random singular vectors, and its right vectors."""
    g = torch.Generator().manual_seed(seed)
    k = min(d_out, d_in)
    U = torch.linalg.qr(torch.randn(d_out, k, generator=g)).Q
    V = torch.linalg.qr(torch.randn(d_in, k, generator=g)).Q
    s = torch.arange(1, k + 1) ** -decay
    return (U * s) @ V.T, V.double(), s.double()


def recovered(V, truth):
    """The share of the true subspace that V spans, in [0, 1]."""
    return (V.mT @ truth).square().sum().item() / truth.shape[1]


@pytest.mark.parametrize("shape", [(512, 384), (384, 512)])
@pytest.mark.parametrize("decay", [0.3, 0.7])
def test_krylov_recovers_the_top_subspace_of_slow_spectra(shape, decay):
    D, V, s = power_law(*shape, decay, seed=3)
    found_s, found_V = krylov_right_vectors(D[None], k=40)
    assert recovered(found_V[0, :, :32], V[:, :32]) >= 0.999
    torch.testing.assert_close(found_s[0, :32], s[:32], rtol=1e-3, atol=0)


@pytest.mark.parametrize("shape", [(40, 300), (300, 40), (60, 60)])
def test_small_matrices_are_exact(shape):
    D, V, s = power_law(*shape, 0.3, seed=4)
    found_s, found_V = krylov_right_vectors(D[None], k=20)
    torch.testing.assert_close(found_s[0], s[:20], rtol=1e-5, atol=0)
    assert recovered(found_V[0], V[:, :20]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shape", [(32, 64), (64, 32), (300, 400)])
def test_inputs_without_an_update_get_no_share_of_a_low_rank_one(shape):
    """Of 24 vectors asked for 18 do not exist; they must not be made up, nor mix with the six that do."""
    D = torch.zeros(shape)
    D[:, :6] = torch.randn(shape[0], 6, generator=torch.Generator().manual_seed(0))
    spectrum = right_spectrum(D[None], frobenius_norm(D[None]), rank=16, energy=1 - 1e-9, lam=1e-6)
    s = torch.linalg.svdvals(D.double())
    torch.testing.assert_close(spectrum.s[0, :6], s[:6], rtol=1e-6, atol=0)
    assert spectrum.rank.item() == 6
    V = spectrum.V[0, :, :6]
    torch.testing.assert_close(V.mT @ V, torch.eye(6, dtype=torch.float64), atol=1e-9, rtol=0)
    assert V[6:].abs().max() < 1e-6


def test_exact_equals_numpy():
    D = torch.randn(3, 30, 20, generator=torch.Generator().manual_seed(0))
    s, V = exact_right_vectors(D, k=7)
    for n in range(3):
        _, expected, Vh = np.linalg.svd(D[n].double().numpy())
        np.testing.assert_allclose(s[n], expected[:7], rtol=1e-12)
        np.testing.assert_allclose(np.abs(np.sum(V[n].numpy() * Vh[:7].T, axis=0)), 1, rtol=1e-12)


@pytest.mark.parametrize("rank", [0, 1, 4])
def test_krylov_on_low_rank_updates(rank):
    """Merged adapters have far fewer directions than the iteration's block; zero updates have none."""
    g = torch.Generator().manual_seed(1)
    D = (torch.randn(400, rank, generator=g) @ torch.randn(rank, 300, generator=g))[None]
    found = right_spectrum(D, frobenius_norm(D), rank=32, energy=1.0, lam=1e-6)
    assert found.rank.item() == rank
    expected = torch.linalg.svdvals(D.double())[0, :rank]
    torch.testing.assert_close(found.s[0, :rank], expected, rtol=1e-5, atol=0)
    gram = found.V[0].mT @ found.V[0]
    torch.testing.assert_close(gram, torch.diag((torch.arange(32) < rank).double()), rtol=0, atol=1e-6)
    if rank == 0:
        assert found.energy_kept.isnan()


def test_vectors_are_orthonormal_to_double_precision():
    D, _, _ = power_law(400, 300, 0.5, seed=5)
    _, V = krylov_right_vectors(D[None], k=32)
    torch.testing.assert_close(V[0].mT @ V[0], torch.eye(32).double(), rtol=0, atol=1e-10)


def test_result_does_not_depend_on_the_batch():
    D = torch.stack([power_law(300, 200, 0.4, seed=n)[0] for n in range(3)])
    together, alone = krylov_right_vectors(D, k=8), krylov_right_vectors(D[1:2], k=8)
    torch.testing.assert_close(together[0][1], alone[0][0], rtol=1e-6, atol=0)
    assert recovered(together[1][1], alone[1][0]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("energy", "rank", "lam", "expected"),
    [
        (0.5, 32, 1e-6, 1),  # 9 of 14 is already more than half
        (9 / 14, 32, 1e-6, 1),  # exactly reached counts as reached
        (0.9, 32, 1e-6, 2),  # 13 of 14
        (1.0, 32, 1e-6, 3),
        (1.0, 2, 1e-6, 2),  # capped by rank
        (1.0, 32, 1.0, 2),  # 1^2 is not above lambda = 1
        (0.5, 32, 20.0, 0),  # nothing is
    ],
)
def test_truncation_by_hand(energy, rank, lam, expected):
    s = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    assert truncate(s, s.square().sum(), rank=rank, energy=energy, lam=lam).item() == expected


def test_energy_of_total_and_of_sketch_differ_as_defined():
    """A flat spectrum: 10 of 100 equal directions hold a tenth of the total, but all of a sketch of 10."""
    D = torch.eye(100)[None]
    norm = frobenius_norm(D)
    total = right_spectrum(D, norm, rank=2, energy=0.05, lam=1e-6)
    sketch = right_spectrum(D, norm, rank=2, energy=0.05, lam=1e-6, energy_of="sketch")
    assert (total.rank.item(), sketch.rank.item()) == (2, 1)
    assert total.energy_kept.item() == pytest.approx(0.02)


@pytest.mark.parametrize("method", ["exact", "krylov"])
def test_spectrum_equals_the_oracle(method):
    D = torch.randn(4, 50, 30, generator=torch.Generator().manual_seed(2)) * torch.arange(1, 31) ** -0.8
    found = right_spectrum(D, frobenius_norm(D), rank=8, energy=0.9, lam=1e-6, method=method)
    for n in range(4):
        V, s = oracle.truncated_spectrum(D[n].double().numpy(), rank=8, energy=0.9)
        assert found.rank[n] == len(s)
        np.testing.assert_allclose(found.s[n, : len(s)], s, rtol=1e-6)
        assert recovered(found.V[n], torch.tensor(V)) == pytest.approx(1, abs=1e-9)
        assert found.energy_kept[n].item() == pytest.approx((s**2).sum() / (D[n].double() ** 2).sum().item(), rel=1e-6)
