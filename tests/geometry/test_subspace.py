"""Union bases: overlaps are found, whatever the order."""

import numpy as np
import pytest
import torch

from geodiag.geometry import added_rank, extend_basis, rank_tolerance
from tests import oracle

TOL = rank_tolerance(torch.float64)


def overlapping(rng, d=40):
    """Four bases of which the second shares directions with the first, the third lies in both, the fourth is padded."""
    a = np.linalg.qr(rng.standard_normal((d, 6)))[0]
    b = np.linalg.qr(np.concatenate([a[:, :4], rng.standard_normal((d, 3))], axis=1))[0]
    c = np.linalg.qr(np.concatenate([a, b[:, 4:]], axis=1) @ rng.standard_normal((9, 5)))[0]
    e = np.pad(np.linalg.qr(rng.standard_normal((d, 2)))[0], ((0, 0), (0, 3)))
    return [a, b, c, e]


def test_extended_basis_spans_the_union():
    bases = overlapping(np.random.default_rng(0))
    Q, ranks = torch.zeros(40, 0, dtype=torch.float64), []
    for V in bases:
        V = torch.tensor(V)
        grown = added_rank(Q, V, tol=TOL)
        before = Q.shape[1]
        Q = extend_basis(Q, V, tol=TOL)
        assert Q.shape[1] == before + grown
        ranks.append(Q.shape[1])
    assert ranks == [6, 9, 9, 11]  # by construction
    torch.testing.assert_close(Q.T @ Q, torch.eye(11).double(), rtol=0, atol=1e-12)
    explicit = oracle.union_basis(bases)
    assert explicit.shape[1] == 11
    np.testing.assert_allclose(Q.numpy() @ (Q.numpy().T @ explicit), explicit, atol=1e-10)


@pytest.mark.parametrize(("sine", "grows"), [(1e-3, 1), (1e-6, 1), (1e-9, 0)])
def test_a_small_angle_is_told_from_rounding(sine, grows):
    e = torch.eye(5, dtype=torch.float64)
    turned = ((1 - sine**2) ** 0.5 * e[0] + sine * e[1])[:, None]
    assert added_rank(e[:, :1], turned, tol=TOL) == grows
    assert extend_basis(e[:, :1], turned, tol=TOL).shape[1] == 1 + grows


def test_single_precision_finds_the_same_unions():
    """In 3000 dimensions, with directions that are shared to single precision and one that is off by a sine of 0.01."""
    rng = np.random.default_rng(1)
    bases = overlapping(rng, d=3000)
    off = np.linalg.qr(bases[0][:, :1] + 0.01 * rng.standard_normal((3000, 1)) / 3000**0.5)[0]
    tol, Q, ranks = rank_tolerance(torch.float32), torch.zeros(3000, 0), []
    for V in [*bases, off]:
        V = torch.tensor(V, dtype=torch.float32)
        grown, before = added_rank(Q, V, tol=tol), Q.shape[1]
        Q = extend_basis(Q, V, tol=tol)
        assert Q.shape[1] == before + grown
        ranks.append(Q.shape[1])
    assert ranks == [6, 9, 9, 11, 12]  # by construction
    torch.testing.assert_close(Q.T @ Q, torch.eye(12), rtol=0, atol=1e-5)
