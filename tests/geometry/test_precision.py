"""Coarse arithmetic where it is enough: how far off its results are."""

import pytest
import torch

from geodiag.geometry import SMALL_LAYER, product_dtype, projected_norms
from geodiag.geometry.numerics import product
from geodiag.geometry.spectrum import krylov_right_vectors
from tests.geometry.test_spectrum import power_law, recovered


@pytest.mark.parametrize("decay", [0.3, 0.7])
@pytest.mark.parametrize("shape", [(512, 640), (640, 512)])
def test_a_search_in_bfloat16_finds_the_same_subspace(shape, decay):
    D, V, s = power_law(*shape, decay, seed=5)
    found_s, found_V = krylov_right_vectors(D[None], k=40, rough=D[None].to(torch.bfloat16))
    assert recovered(found_V[0, :, :32], V[:, :32]) >= 0.9998
    torch.testing.assert_close(found_s[0, :32], s[:32], rtol=2e-4, atol=0)


def test_weak_directions_of_low_rank_updates_come_from_the_update_itself():
    """Sixteen directions, the last five thousand times weaker than the first: merged adapters look so."""
    g = torch.Generator().manual_seed(6)
    U = torch.linalg.qr(torch.randn(700, 16, generator=g, dtype=torch.float64)).Q
    V = torch.linalg.qr(torch.randn(600, 16, generator=g, dtype=torch.float64)).Q
    s = 10.0 ** (-3.7 * torch.arange(16, dtype=torch.float64) / 15)
    D = ((U * s) @ V.T).float()[None]
    for rough in (None, D.to(torch.bfloat16)):
        found_s, found_V = krylov_right_vectors(D, k=40, rough=rough)
        assert recovered(found_V[0], V) == pytest.approx(1, abs=1e-6)
        assert torch.linalg.norm(V - found_V[0] @ (found_V[0].mT @ V), ord=2) < 1e-3
        torch.testing.assert_close(found_s[0, :16], s, rtol=1e-4, atol=0)


@pytest.mark.parametrize("range_", [4, 7.9, 8.1, 31, 1000])
@pytest.mark.parametrize("shape", ["falling", "two lengths"])
def test_singular_values_after_a_search_in_bfloat16(range_, shape):
    """Forty directions, the last so many times weaker than the first: right to 1e-4 whether measured twice or not."""
    g = torch.Generator().manual_seed(9)
    U = torch.linalg.qr(torch.randn(800, 40, generator=g, dtype=torch.float64)).Q
    V = torch.linalg.qr(torch.randn(600, 40, generator=g, dtype=torch.float64)).Q
    n = torch.arange(40, dtype=torch.float64)
    s = float(range_) ** -(n / 39 if shape == "falling" else (n >= 20).double())
    D = ((U * s) @ V.T).float()[None]
    found_s, found_V = krylov_right_vectors(D, k=40, rough=D.to(torch.bfloat16))
    torch.testing.assert_close(found_s[0], s, rtol=1e-4, atol=0)
    assert recovered(found_V[0], V) == pytest.approx(1, abs=1e-6)


def test_a_batch_in_which_one_update_has_weak_directions():
    """Only that one's values are measured once more; each is as it would be alone."""
    g = torch.Generator().manual_seed(10)
    U = torch.linalg.qr(torch.randn(700, 40, generator=g, dtype=torch.float64)).Q
    V = torch.linalg.qr(torch.randn(600, 40, generator=g, dtype=torch.float64)).Q
    s = torch.stack([r ** (-torch.arange(40, dtype=torch.float64) / 39) for r in (3.0, 300.0, 3.0)])
    D = ((U * s[:, None, :]) @ V.T).float()
    found_s, found_V = krylov_right_vectors(D, k=40, rough=D.to(torch.bfloat16))
    for n in range(3):
        torch.testing.assert_close(found_s[n], s[n], rtol=1e-4, atol=0)
        assert recovered(found_V[n], V) == pytest.approx(1, abs=1e-6)


def test_projections_in_bfloat16_are_right_to_one_part_in_ten_thousand():
    g = torch.Generator().manual_seed(7)
    D = torch.randn(900, 700, generator=g)
    V = torch.linalg.qr(torch.randn(3, 700, 32, generator=g, dtype=torch.float64)).Q
    exact = torch.linalg.vector_norm(D.double() @ V, dim=(-2, -1))
    torch.testing.assert_close(projected_norms(D.to(torch.bfloat16), V), exact, rtol=1e-4, atol=0)


def difficult(kind, g):
    """A (600, 520) update whose rounding to bfloat16, or that of its directions, does not average out."""
    D = torch.randn(600, 520, generator=g, dtype=torch.float64)
    if kind == "low rank":
        return D[:, :4] @ torch.randn(4, 520, generator=g, dtype=torch.float64)
    if kind == "power law":
        U, _, Vh = torch.linalg.svd(D, full_matrices=False)
        return (U / torch.arange(1, 521)) @ Vh
    if kind == "outlier channels":
        D[:, torch.randperm(520, generator=g)[:4]] *= 100
    return D.sign() * 1e-5 if kind == "signs" else D


@pytest.mark.parametrize("kind", ["random", "low rank", "power law", "outlier channels", "signs"])
def test_projections_in_bfloat16_with_what_rounding_took_away(kind):
    """Right to 3e-4 where the product alone is off by up to 2e-3; V are those of other updates of the same kind."""
    g = torch.Generator().manual_seed(11)
    D, *others = (difficult(kind, g) for _ in range(3))
    k = 4 if kind == "low rank" else 32
    V = torch.stack([torch.linalg.svd(other)[2][:k].T for other in others])
    _, s, Vh = torch.linalg.svd(D, full_matrices=False)
    rounded = V.to(torch.bfloat16)
    found = projected_norms(
        D.float().to(torch.bfloat16),
        rounded,
        norm=D.norm().item(),
        core=s[:k, None] * Vh[:k],
        rest=(V - rounded).to(torch.bfloat16),
    )
    torch.testing.assert_close(found, torch.linalg.vector_norm(D @ V, dim=(-2, -1)), rtol=3e-4, atol=0)


@pytest.mark.parametrize("batch", [1, 2])
def test_products_keep_their_precision(batch):
    g = torch.Generator().manual_seed(8)
    A, B = torch.randn(batch, 5, 4, generator=g), torch.randn(batch, 4, 3, generator=g, dtype=torch.float64)
    assert product(A.double(), B).dtype == torch.float64
    torch.testing.assert_close(product(A.double(), B), A.double() @ B)
    assert product(A, B).dtype == product(A.to(torch.bfloat16), B).dtype == torch.float32


def test_small_layers_are_computed_in_full_precision():
    side = int(SMALL_LAYER**0.5)
    assert product_dtype((side, side), torch.device("cpu")) == torch.float32
