"""Random sets of matrices that match a chosen set: as many of every family, with as large a step."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from geodiag.models.groups import ParameterGroup

SETS = 19
"""Random sets that a chosen set must exceed: 1 in 20 by chance."""
NORM_ERROR = 0.2
"""Relative difference of the squared step norm within which a set matches."""
DRAWS = 200
"""Draws of one set, of which the nearest is taken where none matches."""


def random_generator(*names: str) -> np.random.Generator:
    """A generator seeded by names: the same on every machine."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def matched_sets(
    chosen: Sequence[str],
    matrices: Sequence[ParameterGroup],
    squared: Mapping[str, float],
    *,
    names: Sequence[str],
    count: int = SETS,
) -> list[tuple[str, ...]]:
    """Random sets with as many matrices of every family as the chosen one and a squared step norm within 20 % of its.

    A set that does not match is drawn again; of 200 draws the nearest is taken. Where the chosen set holds all of a
    family, or what is no matrix, as many are drawn from all families instead, since the set would be itself.

    Args:
        chosen: names of groups.
        matrices: all target matrices of the model.
        squared: ||Delta_l||_F^2 by group.
        names: the run, step and tasks, by which the draws are seeded.
        count: how many sets.

    Returns:
        `count` sets of names in the order of `matrices`, none of them the chosen one where another exists.
    """
    g = random_generator(*names, "matched sets")
    target = sum(squared[name] for name in chosen)
    return [_nearest(g, tuple(chosen), matrices, squared, target) for _ in range(count)]


def _nearest(
    g: np.random.Generator,
    chosen: tuple[str, ...],
    matrices: Sequence[ParameterGroup],
    squared: Mapping[str, float],
    target: float,
) -> tuple[str, ...]:
    best: tuple[float, tuple[str, ...]] | None = None
    for _ in range(DRAWS):
        drawn = _draw(g, chosen, matrices)
        same = set(drawn) == set(chosen)
        size = sum(squared[name] for name in drawn)
        error = abs(size - target) / target if target > 0 else float(size > 0)
        # The chosen set itself is no control: it stands behind every other.
        error += 1e9 * same
        if best is None or error < best[0]:
            best = (error, drawn)
        if error <= NORM_ERROR:
            break
    assert best is not None
    return best[1]


def _draw(g: np.random.Generator, chosen: Sequence[str], matrices: Sequence[ParameterGroup]) -> tuple[str, ...]:
    family = {group.name: group.family for group in matrices}
    sizes = Counter(family.values())
    wanted = Counter(family.get(name, "") for name in chosen)
    drawn: set[str] = set()
    free = 0
    for kind, number in sorted(wanted.items()):
        if number >= sizes[kind]:
            free += number
            continue
        members = [name for name in family if family[name] == kind]
        drawn.update(members[n] for n in g.choice(len(members), size=number, replace=False))
    others = [name for name in family if name not in drawn]
    free = min(free, len(others))
    drawn.update(others[n] for n in g.choice(len(others), size=free, replace=False))
    return tuple(name for name in family if name in drawn)


def random_sets(
    matrices: Sequence[ParameterGroup], share: float, *, names: Sequence[str], count: int
) -> Iterator[tuple[str, ...]]:
    """Sets of a share of all matrices, drawn alike.

    Args:
        matrices: all target matrices.
        share: 0..1; at least one matrix is drawn.
        names: the run, step and tasks, by which the draws are seeded.
        count: how many sets.
    """
    g = random_generator(*names, "random sets")
    size = share_count(len(matrices), share)
    for _ in range(count):
        drawn = set(g.choice(len(matrices), size=size, replace=False).tolist())
        yield tuple(group.name for n, group in enumerate(matrices) if n in drawn)


def share_count(total: int, share: float) -> int:
    """How many of `total` a share is, rounded down, at least one."""
    return max(1, int(total * share + 1e-9))
