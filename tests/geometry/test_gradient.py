"""Gradient conflict from Gram matrices: numpy, angles by hand, and noise whose size is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from geodiag.geometry import gradient, gradient_cosines, gradient_gram, gradient_norms, split_half_reliability


@pytest.mark.parametrize("chunk", [1, 7, 2**20])
def test_gram_is_that_of_the_flattened_gradients_however_it_is_cut(monkeypatch, chunk):
    monkeypatch.setattr(gradient, "_CHUNK", chunk)
    g = np.random.default_rng(0).normal(size=(3, 4, 5))
    found = gradient_gram(torch.from_numpy(g))
    flat = g.reshape(3, -1)
    np.testing.assert_allclose(found.numpy(), flat @ flat.T, rtol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gram_sums_in_float64_whatever_the_type(dtype):
    # 4096 ones after a 2^14: float32 would drop each 1 beside the 2^28 that comes first.
    g = torch.ones(1, 4097, dtype=dtype)
    g[0, 0] = 2.0**14
    assert gradient_gram(g).item() == 2.0**28 + 4096


def test_gram_of_strided_gradients_is_that_of_their_copies():
    g = torch.randn(5, 6, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(gradient_gram(g[1::3]), gradient_gram(g[1::3].clone()))


@pytest.mark.parametrize("degrees", [0, 60, 90, 135, 180])
def test_cosine_of_known_angles(degrees):
    angle = math.radians(degrees)
    g = torch.tensor([[3.0, 0.0], [2 * math.cos(angle), 2 * math.sin(angle)]], dtype=torch.float64)
    G = gradient_gram(g)
    assert gradient_cosines(G)[0, 1].item() == pytest.approx(math.cos(angle), abs=1e-12)
    assert gradient_norms(G).tolist() == pytest.approx([3.0, 2.0])


def test_cosine_does_not_depend_on_the_gradients_sizes():
    g = torch.randn(2, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    c = gradient_cosines(gradient_gram(g))[0, 1]
    scaled = gradient_cosines(gradient_gram(g * torch.tensor([[1e-120], [1e100]], dtype=torch.float64)))[0, 1]
    assert scaled.item() == pytest.approx(c.item(), rel=1e-12)


def test_cosine_with_a_zero_gradient_is_undefined_and_others_stay():
    g = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    c = gradient_cosines(gradient_gram(g))
    assert c[0, 1].isnan()
    assert c[1, 1].isnan()
    assert c[0, 2].item() == pytest.approx(0.5**0.5)


def test_cosines_never_leave_their_range():
    g = torch.randn(1, 50, generator=torch.Generator().manual_seed(2)).expand(40, 50) * torch.rand(40, 1)
    c = gradient_cosines(gradient_gram(g))
    assert c.max().item() <= 1.0
    torch.testing.assert_close(c, torch.ones_like(c))


def test_reliability_is_the_share_of_signal_and_cosines_shrink_by_its_geometric_mean():
    """With |mu|^2 = s d and independent unit noise, r is s / (s + 1), and a true cosine c shows as c sqrt(r_i r_j)."""
    d, s_i, s_j, c = 400_000, 1.0, 0.25, -0.5
    rng = torch.Generator().manual_seed(3)
    e = torch.randn(2, d, generator=rng)
    mu_i, mu_j = s_i**0.5 * e[0], s_j**0.5 * (c * e[0] + (1 - c * c) ** 0.5 * e[1])
    halves_i, halves_j = (mu + torch.randn(2, d, generator=rng) for mu in (mu_i, mu_j))
    r_i, r_j = (split_half_reliability(gradient_gram(h)).item() for h in (halves_i, halves_j))
    # The standard error of a cosine in d dimensions is about 1 / sqrt(d), here 0.0016.
    assert r_i == pytest.approx(s_i / (s_i + 1), abs=0.008)
    assert r_j == pytest.approx(s_j / (s_j + 1), abs=0.008)
    seen = gradient_cosines(gradient_gram(torch.stack([halves_i[0], halves_j[0]])))[0, 1].item()
    assert seen == pytest.approx(c * (r_i * r_j) ** 0.5, abs=0.01)
