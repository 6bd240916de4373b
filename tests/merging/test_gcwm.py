"""The gate by its formula, and the whole rule against dense matrices and autograd."""

import math

import numpy as np
import pytest
import torch

from geodiag.merging.rules.gcwm import GateSettings, MetricSettings, gcwm, mean_conflict
from geodiag.merging.rules.wudi import WudiSettings, wudi
from tests import oracle
from tests.merging.definitions import (
    dense_metric,
    fixed_point_barycenter,
    geometry,
    power,
    random_updates,
    wudi_by_adam,
)
from tests.merging.test_metric import spectrum_of

LAM = 1e-4
SOLVER = WudiSettings(lr=1e-3, iterations=50)
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
TIGHT = MetricSettings(iterations=2000, tol=1e-11)


def merged(updates, *, gate, metric=TIGHT, weights=WEIGHTS, solver=SOLVER, lam=LAM):
    spectrum = spectrum_of(updates, lam=lam)
    return gcwm(updates, spectrum, weights[: len(updates)], lam=lam, gate=gate, metric=metric, solver=solver)


def open_gate(alpha):
    """A gate that lets through the share alpha, whatever the conflict."""
    return GateSettings(alpha_min=alpha, alpha_max=alpha)


@pytest.mark.parametrize("g", [0.0, 0.05, 0.12, 0.4, 1.0])
def test_gate_is_its_formula(g):
    gate = GateSettings(alpha_min=0.15, alpha_max=0.95, tau=0.12, kappa=12)
    assert gate.alpha(g) == pytest.approx(0.15 + 0.8 / (1 + math.exp(-12 * (g - 0.12))), abs=1e-15)


def test_gate_at_no_conflict_half_way_and_in_its_limits():
    # sigmoid(-12 * 0.12) = 1 / (1 + e^1.44) = 0.19154...: without conflict the gate is not quite shut.
    assert GateSettings().alpha(0.0) == pytest.approx(0.15 + 0.8 * 0.191545, abs=1e-6)
    assert GateSettings().alpha(0.12) == pytest.approx(0.55)
    steep = GateSettings(kappa=1e6)
    assert (steep.alpha(0.0), steep.alpha(1.0)) == (0.15, 0.95)


def test_gate_skips_what_would_hardly_count():
    assert GateSettings(alpha_min=0.0, alpha_max=0.05).share(1.0) == 0.0
    assert GateSettings(alpha_min=0.051, alpha_max=0.051).share(0.0) == 0.051
    assert GateSettings(alpha_min=0.94, alpha_max=0.94).share(0.0) == 0.94
    assert GateSettings(alpha_min=0.95, alpha_max=1.0).share(1.0) == 1.0
    assert GateSettings(kappa=1e6).share(1.0) == 1.0  # the default ceiling is where skipping starts


def test_gate_without_a_conflict():
    assert GateSettings().alpha(None) is None
    assert GateSettings().share(None) == 0.0
    assert GateSettings(mode="none").share(None) == 1.0


def test_conflict_is_the_weighted_mean_over_pairs():
    updates = random_updates(0, d_out=10, d_in=16)
    spectra, _, _ = geometry(updates, rank=4, energy=0.9, lam=LAM)
    total = weight = 0.0
    for i, j in ((0, 1), (0, 2), (1, 2)):
        w = (WEIGHTS[i] * WEIGHTS[j]).item()
        Q = oracle.union_basis([spectra[i][0], spectra[j][0]])
        total, weight = total + w * oracle.conflict(spectra[i], spectra[j], Q, lam=LAM), weight + w
    assert mean_conflict(spectrum_of(updates), WEIGHTS, lam=LAM) == pytest.approx(total / weight, rel=1e-9)


def test_conflict_leaves_out_what_has_no_geometry():
    A, B, _ = random_updates(1, d_out=10, d_in=16)
    tiny = 1e-6 * A
    expected = mean_conflict(spectrum_of([A, B]), WEIGHTS[:2], lam=LAM)
    assert mean_conflict(spectrum_of([A, B, tiny]), WEIGHTS, lam=LAM) == pytest.approx(expected)
    assert mean_conflict(spectrum_of([A, tiny]), WEIGHTS[:2], lam=LAM) is None


@pytest.mark.parametrize("mode", ["barycenter", "mean"])
def test_the_whole_rule_by_dense_matrices(mode):
    lam = 1e-2  # at which some hundred fixed-point steps are plenty
    updates = random_updates(2, d_out=10, d_in=16)
    _, Q, B = geometry(updates, rank=4, energy=0.9, lam=lam)
    mean = sum(w * B_i for w, B_i in zip(WEIGHTS.numpy(), B, strict=True))
    center = mean if mode == "mean" else fixed_point_barycenter(B, WEIGHTS.numpy(), iterations=300)
    G = dense_metric(Q, center, lam)
    whitened = [torch.tensor(D.numpy() @ power(G, -0.5)) for D in updates]
    geometric = wudi_by_adam(whitened, WEIGHTS, lr=1e-3, iterations=50).numpy() @ power(G, 0.5)
    plain = wudi_by_adam(updates, WEIGHTS, lr=1e-3, iterations=50).numpy()
    metric = MetricSettings(mode=mode, iterations=2000, tol=1e-11)
    update, stats = merged(updates, gate=GateSettings(), metric=metric, lam=lam)
    expected = stats.alpha * geometric + (1 - stats.alpha) * plain
    assert np.allclose(update, expected, atol=1e-6 * np.abs(expected).max())
    assert not np.allclose(geometric, plain, atol=1e-2 * np.abs(plain).max())
    assert stats.metric_trace == pytest.approx(np.trace(center), rel=1e-6)
    assert stats.union_rank == Q.shape[1]
    assert stats.products == 100


def test_blend_is_linear_in_alpha_and_skips_at_its_ends():
    updates = random_updates(3, d_out=10, d_in=16)
    plain, plain_stats = merged(updates, gate=open_gate(0.04))
    assert torch.equal(plain, wudi(updates, WEIGHTS, SOLVER).update)
    geometric, _ = merged(updates, gate=open_gate(0.96))
    ungated, stats = merged(updates, gate=GateSettings(mode="none"))
    assert torch.equal(ungated, geometric)
    assert stats.alpha == 1.0
    assert (plain_stats.products, stats.products) == (50, 50)
    half, _ = merged(updates, gate=open_gate(0.5))
    assert torch.allclose(half, (plain + geometric) / 2, atol=1e-12)


@pytest.mark.parametrize("gate", [GateSettings(), GateSettings(mode="none")])
def test_one_update_is_its_own_merge(gate):
    (D,) = random_updates(4, m=1, d_out=10, d_in=16)
    update, stats = merged([D], gate=gate, weights=torch.ones(1, dtype=torch.float64))
    assert torch.equal(update, D)
    assert (stats.conflict, stats.alpha) == (None, None)
    assert stats.union_rank == spectrum_of([D]).rank.item()


def test_equal_updates_have_no_conflict_and_their_exact_merge_is_that_update():
    """M = D makes (M - D) D' vanish, whitened or not."""
    (D,) = random_updates(5, m=1, d_out=10, d_in=16)
    update, stats = merged([D, D.clone()], gate=GateSettings(), solver=WudiSettings(solver="exact", ridge=0))
    assert stats.conflict == pytest.approx(0.0, abs=1e-12)
    assert stats.alpha == pytest.approx(GateSettings().alpha(0.0))
    assert torch.allclose(update, D, atol=1e-9 * D.norm().item())


def test_reports_a_barycenter_that_did_not_converge():
    _, stats = merged(random_updates(6, d_out=10, d_in=16), gate=GateSettings(), metric=MetricSettings(iterations=1))
    assert stats.metric_iterations == 1
    assert stats.metric_residual > MetricSettings().tol
