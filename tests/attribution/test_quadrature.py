"""The quadrature is exact for polynomials, nested, and stops by its rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geodiag.extraction.measurements.attribution.quadrature import Point, nodes, path_integral, shares, weights


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_a_rule_is_exact_for_polynomials_of_its_degree_and_its_weights_sum_to_one(count):
    assert sum(weights(count)) == pytest.approx(1)
    for degree in range(count):  # n + 1 points are exact for degree n; of odd degrees by symmetry one more
        value = sum(w * x**degree for x, w in zip(nodes(count), weights(count), strict=True))
        assert value == pytest.approx(1 / (degree + 1), abs=1e-14)


def test_rules_are_nested_and_three_points_are_simpsons():
    assert set(nodes(3)) < set(nodes(5)) < set(nodes(9))
    assert (nodes(3), weights(3)) == ([0.0, 0.5, 1.0], pytest.approx([1 / 6, 2 / 3, 1 / 6]))


def along(slopes, loss):
    """A path on which two examples have products slopes(a) by group, and losses loss(a)."""
    asked = []

    def point(a):
        asked.append(a)
        products = torch.tensor([[[s, s] for s in slopes(a)]], dtype=torch.float64)
        return Point(torch.full((2,), loss(a), dtype=torch.float64), products)

    return point, asked


def test_a_smooth_path_takes_three_points():
    point, asked = along(lambda a: (2 * a, -1.0), lambda a: a**2 - a)
    result = path_integral(point)
    assert (result.points, result.converged, sorted(asked)) == (3, True, [0.0, 0.5, 1.0])
    assert result.integral[0, :, 0].tolist() == pytest.approx([1.0, -1.0])
    assert (result.residual, result.delta_loss) == (pytest.approx(0), pytest.approx(0))
    # The trapezoid gives the same integrals, so no share changed.
    assert result.share_change == pytest.approx(0)


def test_a_residual_or_shares_that_change_take_more_points():
    """d/da sin^2(3 pi a) needs more than three points; so do two groups whose sum alone is smooth."""
    point, asked = along(lambda a: (3 * np.pi * np.sin(6 * np.pi * a),), lambda a: np.sin(3 * np.pi * a) ** 2 - a)
    assert path_integral(point).points == 9
    assert len(asked) == 9
    point, _ = along(lambda a: (1 + np.cos(6 * np.pi * a), -np.cos(6 * np.pi * a)), lambda a: a)
    result = path_integral(point)
    assert result.points > 3
    assert abs(result.residual) < 1e-9


def test_what_does_not_settle_is_not_converged_unless_its_error_is_under_the_floor():
    point, _ = along(lambda a: (1.0,), lambda a: 2.0 * a)
    result = path_integral(point)
    assert (result.points, result.converged, result.residual) == (9, False, pytest.approx(1.0))
    assert path_integral(point, floor=1.5).points == 3
    almost, _ = along(lambda a: (1.0,), lambda a: 1.15 * a)
    assert not path_integral(almost).converged
    assert path_integral(almost, routed=True).converged


def test_shares_are_signed_and_sum_to_one_in_size():
    assert shares(torch.tensor([3.0, -1.0])).tolist() == [0.75, -0.25]
    assert shares(torch.zeros(2)).tolist() == [0.0, 0.0]
