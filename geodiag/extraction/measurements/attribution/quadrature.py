"""Nested quadrature of a path integral on 0..1 with 3, 5 and 9 points, and its rule of stopping.

The rule is Clenshaw-Curtis (1960): points (1 - cos(k pi / n)) / 2 for n = 2, 4, 8, each of which holds those before;
with 3 points it is Simpson's rule, with 2 the trapezoid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LEVELS = (3, 5, 9)
"""Numbers of points, each nested in the next."""
LEAST_ERROR = 1e-3
"""Residual in nats under which an integral counts as exact."""
ERROR_SHARE = 0.05
"""Residual allowed as a share of the loss change."""
ROUTING_SHARE = 0.2
"""The same where routing may jump: jumps are no integral's part."""
SHARE_CHANGE = 0.1
"""Change of the groups' shares in L1, from one level to the next, under which they count as settled."""


@dataclass(frozen=True)
class Point:
    """Losses and products at one point of the path."""

    losses: Tensor
    """(n,) by example, nats, float64."""
    products: Tensor
    """(directions, groups, n): <grad L_e, change>, float64; the first direction is the step itself."""


@dataclass(frozen=True)
class PathIntegral:
    """Products integrated along the path, by direction, group and example."""

    integral: Tensor
    """(directions, groups, n), nats; of the first direction, the allocation of each example's loss change."""
    first: Tensor
    """(directions, groups, n): the products at the start."""
    last: Tensor
    """(directions, groups, n): the products at the end."""
    losses: tuple[Tensor, Tensor]
    """(n,) at the start and at the end."""
    points: int
    """How many points were taken."""
    residual: float
    """The loss change less the sum of the allocation over groups, both as means over examples; nats."""
    share_change: float
    """Sum over groups of the change of their shares since the level before, 0..2; shares are A_l / sum |A_l|."""
    converged: bool
    """Whether the residual is small and the shares are settled."""

    @property
    def delta_loss(self) -> float:
        """Mean over examples of the loss change."""
        return (self.losses[1] - self.losses[0]).mean().item()


def path_integral(
    point: Callable[[float], Point], *, floor: float = 0.0, routed: bool = False, levels: tuple[int, ...] = LEVELS
) -> PathIntegral:
    """Integrates the products along the path, with more points until the sum over groups meets the loss change.

    Args:
        point: computes losses and products at a place in 0..1; asked once a place.
        floor: the precision of a loss difference in nats.
        routed: whether experts are chosen by a router, so that losses may jump along the path.
        levels: numbers of points, each nested in the next.
    """
    points: dict[float, Point] = {}
    for count in levels:
        for place in nodes(count):
            if place not in points:
                points[place] = point(place)
        result = _integral(points, count, floor, routed=routed)
        if result.converged:
            break
    return result


def nodes(count: int) -> list[float]:
    """The places of a rule, rising; (1 - cos(k pi / n)) / 2 with n = count - 1."""
    n = count - 1
    # sin^2(k pi / 2n), from whichever end is nearer, so that nested rules share their places to the last bit.
    lower = [math.sin(k / n * math.pi / 2) ** 2 for k in range(n // 2 + 1)]
    lower = [0.5 if 2 * k == n else place for k, place in enumerate(lower)]
    return lower + [1 - place for place in reversed(lower[: count - len(lower)])]


def weights(count: int) -> list[float]:
    """The weights of a rule with an even number of intervals (or one), which sum to 1.

    w_k = (c_k / n) (1 - sum_j b_j cos(2 j k pi / n) / (4 j^2 - 1)) / 2, j = 1..n/2, b_j = 1 for j = n/2 and else 2,
    c_k = 1 at the ends and else 2 (Clenshaw and Curtis, 1960).
    """
    n = count - 1
    if n == 1:
        return [0.5, 0.5]

    def weight(k: int) -> float:
        cosines = (
            (1 if 2 * j == n else 2) * math.cos(2 * j * k * math.pi / n) / (4 * j * j - 1) for j in range(1, n // 2 + 1)
        )
        return (1 if k in (0, n) else 2) / n * (1 - sum(cosines)) / 2

    return [weight(k) for k in range(count)]


def _integral(points: dict[float, Point], count: int, floor: float, *, routed: bool) -> PathIntegral:
    products = _weighted(points, count)
    first, last = points[0.0], points[1.0]
    allocation = products[0].mean(-1)
    delta_loss = (last.losses - first.losses).mean().item()
    residual = delta_loss - allocation.sum().item()
    before = _weighted(points, (count + 1) // 2)[0].mean(-1)
    share_change = (shares(allocation) - shares(before)).abs().sum().item()
    allowed = max((ROUTING_SHARE if routed else ERROR_SHARE) * abs(delta_loss), floor, LEAST_ERROR)
    return PathIntegral(
        products,
        first.products,
        last.products,
        (first.losses, last.losses),
        points=count,
        residual=residual,
        share_change=share_change,
        converged=abs(residual) <= allowed and share_change < SHARE_CHANGE,
    )


def _weighted(points: dict[float, Point], count: int) -> Tensor:
    terms = [weight * points[place].products for place, weight in zip(nodes(count), weights(count), strict=True)]
    return torch.stack(terms).sum(0)


def shares(allocation: Tensor) -> Tensor:
    """A_l / sum |A_l|; zero where every A_l is."""
    return allocation / allocation.abs().sum().clamp(min=torch.finfo(allocation.dtype).tiny)
