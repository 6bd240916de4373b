"""Union bases: overlaps are found, whatever the order."""

import numpy as np
import pytest
import torch

from geodiag.geometry import added_rank, cross_gram, extend_basis, rank_tolerance, span_coordinates
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


def test_coordinates_of_the_span_keep_every_inner_product_and_union():
    """In 80 dimensions four bases of seven columns: 28 coordinates, the same angles, the same ranks."""
    bases = overlapping(np.random.default_rng(1), d=80)
    V = torch.stack([torch.from_numpy(np.pad(b, ((0, 0), (0, 7 - b.shape[1])))) for b in bases])
    L = span_coordinates(V, cross_gram(V))
    assert L.shape == (4, 28, 7)
    torch.testing.assert_close(cross_gram(L), cross_gram(V), rtol=0, atol=1e-13)
    tol = rank_tolerance(torch.float32)
    Q, ranks = L.new_zeros(28, 0), []
    for columns in L:
        Q = extend_basis(Q, columns, tol=tol)
        ranks.append(Q.shape[1])
    assert ranks == [6, 9, 9, 11]  # by construction
    small = V[:, :50]
    assert torch.equal(span_coordinates(small, cross_gram(small)), small)
