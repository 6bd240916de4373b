"""The edits of a step that are scored on the choosing half.

An edit leaves theta_(t-1) + sum_l M_l(Delta_l) of a step Delta = theta_t - theta_(t-1): scaled, M = factor; reverted, 0
on some groups and 1 elsewhere; projected, Delta (I - V V').
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from geodiag.common.schema import FAMILIES
from geodiag.extraction.measurements.edits.controls import random_sets, share_count
from geodiag.models.groups import EMBEDDING, EXPERTS, LM_HEAD, NORM, ROUTER, ParameterGroup

Kind = Literal[
    "scale", "family", "band", "top", "harm", "random", "complement", "project", "project_random", "transplant"
]
SCALES = (0.25, 0.5, 0.75)
BANDS = 6
"""Contiguous bands of blocks."""
TOP_SHARES = (0.1, 0.25, 0.5)
"""Shares of the matrices that are reverted by harm less benefit."""
HARM_SHARE = RANDOM_SHARE = 0.25
HARMFUL_HALF = 0.5
PART_SCALES = (0.5, 0.25)
"""Factors of the harmful half of the matrices."""
RANDOM_SETS = 3


@dataclass(frozen=True)
class Edit:
    """One edit of a step."""

    name: str
    """Such as `scale 0.5` or `revert q_proj`."""
    kind: Kind
    groups: tuple[str, ...] = ()
    """Groups whose change is edited, in the model's order; empty for all."""
    factor: float = 0.0
    """What their change is multiplied by; of no use to projections and transplants."""

    @property
    def is_set(self) -> bool:
        """Whether it reverts some groups."""
        return self.kind in ("family", "band", "top", "harm", "random", "complement")


def is_matrix(group: ParameterGroup) -> bool:
    """Whether a group is a target matrix, or the experts of a block."""
    return group.block is not None and group.family != ROUTER


def normalised_harm(allocation: Mapping[str, float]) -> dict[str, float]:
    """harm(l) = max(A_old(l), 0) / sum max(A_old, 0): shares of the increase of an old task's loss; 0 without any."""
    return _shares({name: max(value, 0.0) for name, value in allocation.items()})


def mean_harm(allocations: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of the normalised harms of several lost tasks."""
    harms = [normalised_harm(allocation) for allocation in allocations]
    return {name: sum(harm[name] for harm in harms) / len(harms) for name in harms[0]}


def normalised_benefit(allocation: Mapping[str, float]) -> dict[str, float]:
    """benefit(l) = max(-A_new(l), 0) / sum max(-A_new, 0): shares of the fall of the new task's loss."""
    return _shares({name: max(-value, 0.0) for name, value in allocation.items()})


def _shares(parts: Mapping[str, float]) -> dict[str, float]:
    total = sum(parts.values())
    return {name: part / total if total > 0 else 0.0 for name, part in parts.items()}


def choosing_edits(
    groups: Mapping[str, ParameterGroup],
    *,
    harm: Mapping[str, float],
    benefit: Mapping[str, float],
    names: Sequence[str],
    project: bool,
    transplant: bool,
) -> list[Edit]:
    """All edits of the choosing half, in the order in which they are scored.

    Args:
        groups: of the model.
        harm: by group, from `mean_harm`; 0 for groups that have none.
        benefit: by group; empty where the new task was not learnt.
        names: the run, step and tasks, by which random sets are seeded.
        project: whether lost tasks have input directions to project out.
        transplant: whether the new task has an update of its own.
    """
    matrices = [group for group in groups.values() if is_matrix(group)]
    edits = [Edit(f"scale {factor}", "scale", factor=factor) for factor in SCALES]
    edits += _families(groups)
    edits += _bands(matrices)
    edits += by_harm(matrices, harm, benefit)
    drawn = random_sets(matrices, RANDOM_SHARE, names=names, count=RANDOM_SETS)
    edits += [Edit(f"random {_percent(RANDOM_SHARE)} {n}", "random", own) for n, own in enumerate(drawn, start=1)]
    edits += [Edit("project", "project")] if project else []
    edits += [Edit("transplant", "transplant")] if transplant else []
    return edits


def choosing_names(groups: Mapping[str, ParameterGroup]) -> list[str]:
    """Names of all edits of the choosing half, whether or not a step has them."""
    none = dict.fromkeys(groups, 0.0)
    edits = choosing_edits(groups, harm=none, benefit=none, names=(), project=True, transplant=True)
    return [edit.name for edit in edits]


def _families(groups: Mapping[str, ParameterGroup]) -> Iterator[Edit]:
    for family in (*FAMILIES, ROUTER, EXPERTS):
        own = tuple(group.name for group in groups.values() if group.family == family)
        if own:
            yield Edit(f"revert {family}", "family", own)
    for title, families in (("embedding and head", (EMBEDDING, LM_HEAD)), ("norms", (NORM,))):
        own = tuple(group.name for group in groups.values() if group.family in families)
        if own:
            yield Edit(f"revert {title}", "family", own)


def _bands(matrices: Sequence[ParameterGroup]) -> Iterator[Edit]:
    blocks = sorted({group.block for group in matrices if group.block is not None})
    count = min(BANDS, len(blocks))
    for n in range(count):
        band = blocks[n * len(blocks) // count : (n + 1) * len(blocks) // count]
        own = tuple(group.name for group in matrices if group.block in band)
        title = f"block {band[0]}" if len(band) == 1 else f"blocks {band[0]}-{band[-1]}"
        yield Edit(f"revert {title}", "band", own)


def by_harm(matrices: Sequence[ParameterGroup], harm: Mapping[str, float], benefit: Mapping[str, float]) -> list[Edit]:
    """Reverts of the matrices with most harm less benefit, by share; by harm alone; the harmful half scaled."""
    less = {group.name: harm.get(group.name, 0.0) - benefit.get(group.name, 0.0) for group in matrices}
    alone = {group.name: harm.get(group.name, 0.0) for group in matrices}
    half = _highest(less, HARMFUL_HALF)
    return [
        *(Edit(f"revert top {_percent(share)}", "top", _highest(less, share)) for share in TOP_SHARES),
        Edit(f"revert {_percent(HARM_SHARE)} by harm", "harm", _highest(alone, HARM_SHARE)),
        *(Edit(f"scale {factor} of harmful half", "scale", half, factor) for factor in PART_SCALES),
    ]


def _highest(values: Mapping[str, float], share: float) -> tuple[str, ...]:
    """The share of names with the highest values, in their own order; of equal ones the first."""
    ranked = sorted(values, key=lambda name: -values[name])[: share_count(len(values), share)]
    return tuple(name for name in values if name in set(ranked))


def _percent(share: float) -> str:
    return f"{round(100 * share)}%"


def complement(edit: Edit, groups: Mapping[str, ParameterGroup], *, name: str) -> Edit:
    """The edit that reverts every group but those that another one reverts."""
    return Edit(name, "complement", tuple(other for other in groups if other not in set(edit.groups)))
