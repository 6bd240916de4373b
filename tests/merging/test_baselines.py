"""Task arithmetic, TIES and OPCM against hand calculations and their papers' own steps."""

import numpy as np
import pytest
import torch

from geodiag.merging.rules.opcm import opcm_projection
from geodiag.merging.rules.task_arithmetic import task_arithmetic
from geodiag.merging.rules.ties import ties
from tests.merging.definitions import random_updates


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_task_arithmetic_is_the_scaled_sum():
    assert torch.equal(task_arithmetic([tensor([[1.0, 2.0]]), tensor([[3.0, -4.0]])], scale=0.5), tensor([[2.0, -1.0]]))


def test_ties_by_hand():
    A = tensor([[9.0, -5.0, 1.0, 0.1]])
    B = tensor([[-2.0, -7.0, 0.2, 8.0]])
    # half is kept: A -> [9, -5, 0, 0], B -> [0, -7, 0, 8]; signs of the sums: +, -, 0, +
    assert torch.equal(ties([A, B], keep=0.5, scale=1.0), tensor([[9.0, -6.0, 0.0, 8.0]]))
    # all is kept: sums 7, -12, 1.2, 8.1; B's -2 disagrees
    assert torch.allclose(ties([A, B], keep=1.0, scale=0.5), tensor([[4.5, -3.0, 0.3, 2.025]]))


def test_ties_entry_by_entry():
    updates = random_updates(0)
    found = ties(updates, keep=0.2, scale=0.7)
    kept = []
    for D in (D.numpy() for D in updates):
        order = np.sort(np.abs(D).ravel())[::-1]
        kept.append(np.where(np.abs(D) >= order[round(0.2 * D.size) - 1], D, 0))
    for place in np.ndindex(*updates[0].shape):
        entries = [D[place] for D in kept]
        agreeing = [e for e in entries if e != 0 and np.sign(e) == np.sign(sum(entries))]
        expected = 0.7 * np.mean(agreeing) if agreeing else 0.0
        assert found[place].item() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(("d_out", "d_in"), [(12, 20), (20, 12)])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.8])
def test_opcm_projection_with_square_singular_bases(d_out, d_in, threshold):
    D, merged = (X.numpy() for X in random_updates(1, m=2, d_out=d_out, d_in=d_in))
    U, s, Vh = np.linalg.svd(merged, full_matrices=True)
    X = U.T @ D @ Vh.T
    r = next(k for k in range(len(s)) if s[: k + 1].sum() > threshold * s.sum())
    X[:r, :r] = 0
    np.fill_diagonal(X, 0)
    found = opcm_projection(torch.tensor(D), torch.tensor(merged), threshold=threshold)
    assert np.allclose(found, U @ X @ Vh, atol=1e-12)


def test_opcm_projection_is_orthogonal_to_what_was_merged_and_keeps_what_is_new():
    D, merged = random_updates(2, m=2)
    assert (opcm_projection(D, merged, threshold=0.5) * merged).sum().abs() < 1e-12
    assert opcm_projection(merged, merged, threshold=0.5).norm() < 1e-12
    elsewhere = torch.zeros_like(D)
    assert torch.equal(opcm_projection(D, elsewhere, threshold=0.5), D)
