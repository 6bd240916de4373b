"""Factored updates against their dense products."""

import numpy as np
import pytest
import torch

from geodiag.geometry import frobenius_norm, product_floor_sq, projected_norms, right_factor, right_spectrum


def factors(d_out, r, d_in, *, seed=0, batch=()):
    g = torch.Generator().manual_seed(seed)
    B = torch.randn(*batch, d_out, r, generator=g, dtype=torch.float64)
    A = torch.randn(*batch, r, d_in, generator=g, dtype=torch.float64)
    return B * torch.arange(1, r + 1) ** -1.0, A


SHAPES = [(40, 6, 30), (30, 6, 40), (5, 8, 30), (40, 8, 5), (12, 1, 9)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_norm_and_projections_are_those_of_the_product(shape):
    B, A = factors(*shape)
    D, C = (B @ A).numpy(), right_factor(B, A)
    V = np.linalg.qr(np.random.default_rng(1).standard_normal((shape[2], 3)))[0]
    assert frobenius_norm(C).item() == pytest.approx(np.linalg.norm(D), rel=1e-12)
    found = projected_norms(C, torch.from_numpy(V)[None])
    assert found.item() == pytest.approx(np.linalg.norm(D @ V), rel=1e-12)
    assert len(C) == min(shape[:2])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_spectrum_is_that_of_the_dense_svd(shape):
    B, A = factors(*shape)
    C = right_factor(B, A)
    found = right_spectrum(C[None], frobenius_norm(C)[None], rank=4, energy=0.99, lam=1e-6, method="thin")
    _, s, Vh = np.linalg.svd((B @ A).numpy(), full_matrices=False)
    share = np.cumsum(s**2) / np.sum(s**2)
    r = min(4, int(np.nonzero(share >= 0.99)[0][0]) + 1)
    assert found.rank.item() == r
    np.testing.assert_allclose(found.s[0, :r], s[:r], rtol=1e-12)
    V = found.V[0, :, :r].numpy()
    np.testing.assert_allclose(V @ V.T, Vh[:r].T @ Vh[:r], atol=1e-10)
    assert found.s_1.item() == pytest.approx(s[0], rel=1e-12)
    assert found.energy_kept.item() == pytest.approx(share[r - 1], rel=1e-12)


def test_a_difference_keeps_its_digits_where_factors_nearly_cancel():
    """[B, -B'] [A; A'] for factors that differ in the eighth digit: their Gram matrices would lose all of it."""
    B, A = factors(50, 4, 30)
    B_new = B + 1e-8 * factors(50, 4, 30, seed=1)[0]
    C = right_factor(torch.cat([B_new, -B], dim=1), torch.cat([A, A]))
    assert frobenius_norm(C).item() == pytest.approx(torch.linalg.norm((B_new - B) @ A).item(), rel=1e-6)


def test_padding_with_zeros_changes_nothing_and_zero_has_no_rank():
    B, A = factors(20, 3, 16)
    C = right_factor(B, A)
    padded = torch.cat([C, C.new_zeros(4, 16)])
    norm = frobenius_norm(C)[None]
    wide, plain = (right_spectrum(X[None], norm, rank=8, energy=1.0, lam=1e-6, method="thin") for X in (padded, C))
    assert wide.rank.item() == plain.rank.item() == 3
    np.testing.assert_allclose(wide.s[0, :3], plain.s[0, :3], rtol=1e-12)
    nothing = right_spectrum(
        torch.zeros(1, 4, 16).double(), torch.zeros(1).double(), rank=8, energy=1.0, lam=0.0, method="thin"
    )
    assert nothing.rank.item() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_floor_of_a_product_is_what_rounding_its_factors_does(dtype):
    B, A = factors(200, 6, 150)
    errors = [torch.linalg.norm(b.to(dtype).double() @ a.to(dtype).double() - b @ a).item() for b, a in [(B, A)]]
    floor = product_floor_sq(B.to(dtype), A.to(dtype)) ** 0.5
    assert floor == pytest.approx(np.mean(errors), rel=0.1)


def test_the_floor_by_hand():
    """bfloat16 keeps 7 bits: neighbours of 1 are 2^-7 apart, those of 4 are 2^-5."""
    B, A = (torch.tensor([[x]], dtype=torch.bfloat16) for x in (1.0, 4.0))
    assert product_floor_sq(B, A) == pytest.approx((2.0**-14 * 16 + 2.0**-10) / 12)
