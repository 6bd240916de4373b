"""One layer through all steps of a continual merge.

D_t          update of task t, theta_expert,t - theta_base, (d_out, d_in)
D_merge,t    merge of the updates that are active at step t; D_merge,0 = 0
eta_t        share of the change of the merge that step t takes
theta_t      state after step t; theta_0 = theta_base
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from geodiag.geometry import frobenius_norm
from geodiag.merging.config import MergeConfig
from geodiag.merging.rules.rule import MergeUpdate, RuleStats

ReadUpdate = Callable[[int], Tensor]
"""Reads D_t = theta_expert,t - theta_base of the layer (d_out, d_in), t from 1."""


@dataclass(frozen=True)
class LayerStep:
    """One layer after one step."""

    step: int
    change: Float[Tensor, "d_out d_in"]
    """theta_t - theta_base; of a scaled rule before its scale."""
    state_norm: float
    """||theta_t - theta_base||_F; of a scaled rule before its scale."""
    merged_norm: float
    """||D_merge,t||_F."""
    new_norm: float
    """||D_t||_F."""
    active: int
    """Active updates that are not zero."""
    stats: RuleStats
    """Diagnostics of the rule."""


def merge_layer(read: ReadUpdate, config: MergeConfig, *, first: int = 1) -> Iterator[LayerStep]:
    """The states of one layer, theta_t = theta_(t-1) + eta_t (D_merge,t - D_merge,(t-1)), from step `first` on.

    Merges that neither a state from `first` on nor a later merge needs are not computed: with one eta for all steps,
    those before `first`. Each state is a sum in the working precision, not built on the one before as it was stored.

    Args:
        read: reads an update; each is read at most once.
        config: what to merge, and how.
        first: the first step to return.
    """
    rule, etas = config.rule, config.etas
    chained = config.memory == "anchor" or rule.recursive  # a merge needs the one of the step before
    held: dict[int, MergeUpdate] = {}
    change = before = carried = None
    for t in range(1, len(etas) + 1):
        left = etas[t - 1] - etas[t] if t < len(etas) else 0.0
        if not (chained or t >= first or left):
            continue
        active = _active(t, held, read, config, change)
        new_norm = frobenius_norm(active[-1].D).item()
        active_now = [update for update in active if bool(update.D.any())]
        if active_now:
            merged, stats = rule.merge(active_now, before)
        else:  # nothing new: a recursive rule keeps its merge, the others have nothing
            merged, stats = before if rule.recursive and before is not None else active[-1].D, RuleStats()
        # theta_t - theta_base = eta_t D_merge,t + sum_{s<t} (eta_s - eta_(s+1)) D_merge,s
        change = etas[t - 1] * merged if carried is None else carried.add(merged, alpha=etas[t - 1])
        if left:
            carried = left * merged if carried is None else carried.add_(merged, alpha=left)
        before = merged if chained else None
        if t >= first:
            norms = (frobenius_norm(change).item(), frobenius_norm(merged).item(), new_norm)
            yield LayerStep(t, change, *norms, len(active_now), stats)


def _active(
    t: int, held: dict[int, MergeUpdate], read: ReadUpdate, config: MergeConfig, change: Tensor | None
) -> list[MergeUpdate]:
    """A_t, the newest last: all tasks so far, the last N, or the previous state (of weight 1) and the new task."""
    alone = config.memory == "anchor" or config.rule.recursive
    kept = 1 if alone else t if config.memory == "all" else int(config.memory)
    for old in [s for s in held if s <= t - kept]:
        del held[old]
    for s in range(max(1, t - kept + 1), t + 1):
        if s not in held:
            held[s] = MergeUpdate(read(s), config.experts[s - 1].weight)
    tasks = [held[s] for s in sorted(held)]
    return [MergeUpdate(change, 1.0), *tasks] if config.memory == "anchor" and change is not None else tasks
