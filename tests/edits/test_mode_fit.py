"""The mixture fit on answers whose mixture is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geodiag.extraction.measurements.modes.fit import ExampleMixture, example_mixture, fit_modes, prefix_weights

VOCABULARY = 12


def answers(seed, *, positions=3, sharp=3.0):
    """(k, vocabulary) log-probabilities at the positions of one answer."""
    g = torch.Generator().manual_seed(seed)
    return (sharp * torch.randn(positions, VOCABULARY, generator=g).double()).log_softmax(-1)


def mixed(log_p, log_q, targets, beta):
    """The definition: whole answers mixed, then the next token's distribution given the answer so far."""
    rows = []
    for k in range(len(targets)):
        P, Q = (
            torch.stack([x[n, targets[n]] for n in range(k)]).sum() if k else torch.tensor(0.0) for x in (log_p, log_q)
        )
        wp, wq = beta * P.exp(), (1 - beta) * Q.exp()
        rows.append((wp * log_p[k].exp() + wq * log_q[k].exp()) / (wp + wq))
    return torch.stack(rows).log()


def fit(make_after, n=24):
    examples = []
    for seed in range(n):
        p, q = answers(seed), answers(1000 + seed)
        targets = p.argmax(-1)
        examples.append(example_mixture(p, q, make_after(p, q, targets, seed), targets))
    return fit_modes(examples)


@pytest.mark.parametrize("beta", [0.1, 0.35, 0.7, 0.95])
def test_a_mixture_is_recognised(beta):
    found = fit(lambda p, q, targets, _: mixed(p, q, targets, beta))
    assert found.beta == pytest.approx(beta, abs=0.005)
    assert found.beta_first == pytest.approx(beta, abs=0.005)
    assert found.residual_kl == pytest.approx(0, abs=1e-4)
    assert found.explained == pytest.approx(1, abs=1e-3)
    assert found.beta_se < 0.01
    assert found.status == ("mass" if beta <= 0.35 else "mixed")


def test_the_weight_at_a_position_is_that_of_the_answer_before_it():
    log_p, log_q = torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-0.2, -0.1, -3.0])
    weights = prefix_weights(log_p.double(), log_q.double())
    for beta, n in ((0.25, 50), (0.5, 100)):
        for k in range(3):
            P, Q = log_p[:k].sum().exp().item(), log_q[:k].sum().exp().item()
            assert weights[k, n].item() == pytest.approx(beta * P / (beta * P + (1 - beta) * Q))
    assert (weights[:, 0] == 0).all()
    assert (weights[:, -1] == 1).all()


def test_an_old_mode_that_moves_is_drift():
    def after(p, q, targets, seed):
        return (p + 0.8 * torch.randn(p.shape, generator=torch.Generator().manual_seed(5000 + seed))).log_softmax(-1)

    found = fit(after)
    assert found.status == "drift"
    assert found.explained < 0.25
    assert found.beta > 0.8


def test_divergences_are_those_of_the_definition():
    p, q, s = answers(0), answers(1), answers(2)
    targets = s.argmax(-1)
    found = fit_modes([example_mixture(p, q, s, targets), example_mixture(p, q, s, targets)])
    kl = (s.exp() * (s - p)).sum(-1).mean().item()
    assert found.kl_old == pytest.approx(kl)
    residuals = [(s.exp() * (s - mixed(p, q, targets, b / 200))).sum(-1).mean().item() for b in range(201)]
    assert found.residual_kl == pytest.approx(min(residuals))
    assert found.beta == np.argmin(residuals) / 200
    assert found.bc_old_new == pytest.approx((0.5 * (p + q)).exp().sum(-1).mean().item())


def test_the_jackknife_is_that_of_fits_without_one():
    made = []
    for seed in range(8):
        p, q = answers(seed), answers(1000 + seed)
        made.append(example_mixture(p, q, mixed(p, q, p.argmax(-1), 0.2 + 0.05 * seed), p.argmax(-1)))
    without = np.array([fit_modes(made[:n] + made[n + 1 :]).beta for n in range(8)])
    assert fit_modes(made).beta_se == pytest.approx(np.sqrt(7 / 8 * ((without - without.mean()) ** 2).sum()))


def test_why_there_is_no_beta():
    assert fit(lambda p, q, t, _: p).status == "no change beyond noise"
    p = answers(0)
    near = [example_mixture(p, (p + 0.01 * answers(9)).log_softmax(-1), answers(3), p.argmax(-1))] * 6
    assert fit_modes(near).status == "modes overlap"
    some = fit(lambda p, q, targets, seed: mixed(p, q, targets, 0.7 * (seed % 2)), n=6)
    assert some.status == "too few probes"

    def later(p, q, targets, seed):
        return torch.cat([p[:1], mixed(p, q, targets, 0.02)[1:]])

    assert fit(later).status == "first position differs"


def test_one_example_has_no_error():
    one = ExampleMixture(np.linspace(-1, 0, 201), np.linspace(-1, 0, 201), 0.1, 0.2, 1)
    assert fit_modes([one]).beta_se == float("inf")
