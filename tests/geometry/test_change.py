"""Norms, changed entries and the rounding floor."""

import math

import numpy as np
import pytest
import torch

from geodiag.geometry import (
    changed_share,
    frobenius_norm,
    projected_norms,
    rounding_floor_sq,
    sar_from_norms,
    stable_rank,
)
from tests import oracle


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rounding_floor_is_the_spacing_of_the_stored_type(dtype):
    """sum ulp^2 / 12 with ulp from the neighbour above in magnitude, entry by entry."""
    g = torch.Generator().manual_seed(0)
    w = (torch.randn(17, 13, generator=g).double() * 10.0 ** torch.randint(-3, 3, (17, 13), generator=g)).to(dtype)
    above = torch.nextafter(w.abs(), torch.full_like(w, torch.inf)).double()
    expected = ((above - w.abs().double()) ** 2).sum().item() / 12
    assert rounding_floor_sq(w) == pytest.approx(expected, rel=1e-6)


def test_float16_subnormals_are_evenly_spaced():
    w = torch.tensor([[2.0**-24, 3 * 2.0**-24, 2.0**-15]], dtype=torch.float16)
    assert rounding_floor_sq(w) == pytest.approx(3 * 2.0**-48 / 12)


def test_rounding_floor_predicts_the_error_of_rounding():
    """A weight stored in bfloat16 is off by about its floor: the model is right to a few percent on 10,000 entries."""
    w = torch.randn(100, 100, generator=torch.Generator().manual_seed(1)).double()
    stored = w.to(torch.bfloat16)
    assert (stored.double() - w).norm().item() == pytest.approx(rounding_floor_sq(stored) ** 0.5, rel=0.05)


def test_norm_and_stable_rank_by_hand():
    D = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert frobenius_norm(D).item() == 5.0
    assert stable_rank(torch.tensor(5.0), torch.tensor(4.0)).item() == pytest.approx(25 / 16)


def test_norm_does_not_lose_small_entries_in_float32():
    D = torch.full((4096, 512), 1e-3)
    assert frobenius_norm(D).item() == pytest.approx(float(np.float32(1e-3)) * math.sqrt(4096 * 512), rel=1e-6)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_norm_outside_the_range_of_squares(size):
    assert frobenius_norm(torch.full((3, 3), size)).item() == pytest.approx(3 * size, rel=1e-6)


def test_changed_share_by_hand():
    D = torch.zeros(2, 4)
    D[0, 1] = 1e-8
    assert changed_share(D) == 1 / 8


def test_sar_equals_its_definition():
    rng = np.random.default_rng(0)
    D = rng.standard_normal((12, 9))
    V = np.stack([np.linalg.qr(rng.standard_normal((9, 3)))[0] for _ in range(4)])
    found = sar_from_norms(projected_norms(torch.tensor(D), torch.tensor(V)), torch.tensor(np.linalg.norm(D)))
    np.testing.assert_allclose(found, [oracle.sar(D, V[j]) for j in range(4)], rtol=1e-12)


def test_sar_of_own_subspace_is_the_root_of_the_kept_energy():
    D = torch.diag(torch.tensor([2.0, 1.0, 1.0])).double()
    V = torch.eye(3, dtype=torch.float64)[None, :, :1]
    assert sar_from_norms(projected_norms(D, V), frobenius_norm(D)).item() == pytest.approx((4 / 6) ** 0.5)


def test_sar_of_a_zero_update_is_undefined():
    zero = torch.zeros(2, 2).double()
    assert sar_from_norms(projected_norms(zero, torch.eye(2).double()[None]), frobenius_norm(zero)).isnan()
