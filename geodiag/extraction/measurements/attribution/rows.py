"""Allocations as rows of the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from geodiag.extraction.measurements.attribution.step import Allocation
from geodiag.extraction.measurements.measurement import Row

ROUTING = "routing"
"""The group of what the loss jumps by where tokens change experts."""


def allocation_rows(
    allocation: Allocation, *, step: int, task: str, choosing: Sequence[bool], routed: bool, by_example: bool
) -> Iterator[Row]:
    """One row a group, in the model's order; last, of routed models, what jumps of the routing leave.

    Args:
        allocation: of the task over the step.
        step: the step.
        task: the folded name of the task.
        choosing: by example, whether it is of the choosing half; the others are of the judging half.
        routed: whether tokens are routed to experts.
        by_example: whether the values of every example are stored.
    """
    result, chosen = allocation.integral, torch.tensor(list(choosing))
    common = {
        "step": step,
        "task": task,
        "path_points": result.points,
        "residual": result.residual,
        "share_change": result.share_change,
        "converged": result.converged,
    }
    for n, group in enumerate(allocation.groups):
        values = _values(result.integral[0, n], chosen, by_example=by_example)
        yield {**common, "group": group.name, "block": group.block, "family": group.family, **values} | {
            "first_order": result.first[0, n].mean().item(),
            "end_order": result.last[0, n].mean().item(),
            **_direction_values(allocation, n),
        }
    if routed:
        # delta_loss by example less what the groups explain of it
        jumps = result.losses[1] - result.losses[0] - result.integral[0].sum(0)
        undefined = ("block", "first_order", "end_order", "shared", "shared_random", "step_overlap", "squared_share")
        values = _values(jumps, chosen, by_example=by_example)
        yield {**common, "group": ROUTING, "family": ROUTING, **dict.fromkeys(undefined), **values}


def _direction_values(allocation: Allocation, n: int) -> Row:
    """Parts of the n-th group's allocation in subspaces of its inputs, and the sizes of its change."""
    group, result = allocation.groups[n], allocation.integral
    squared, total = allocation.squared[group.name], sum(allocation.squared.values())
    projected = (allocation.projected or {}).get(group.name)
    # Of a matrix without a change both parts are 0; without bases, and of other weights, there are none.
    defined = allocation.projected is not None and (
        projected is not None or (squared == 0 and group.slots[0].layer is not None)
    )
    return {
        "shared": result.integral[1, n].mean().item() if defined else None,
        "shared_random": result.integral[2, n].mean().item() if defined else None,
        # ||Delta V||_F^2 / ||Delta||_F^2
        "step_overlap": min(1.0, projected / squared) if projected is not None and squared > 0 else None,
        "squared_share": squared / total if total > 0 else None,
    }


def _values(values: Tensor, chosen: Tensor, *, by_example: bool) -> Row:
    """An allocation by example as its mean, the means of both halves, and its standard error."""
    n = len(values)
    # se = sd / sqrt(n), with n - 1 in the sd
    return {
        "allocation": values.mean().item(),
        "allocation_choosing": _mean(values[chosen]),
        "allocation_judging": _mean(values[~chosen]),
        "allocation_se": (values.std() / n**0.5).item() if n > 1 else None,
        "allocation_examples": values.tolist() if by_example else None,
    }


def _mean(values: Tensor) -> float | None:
    return values.mean().item() if len(values) else None
