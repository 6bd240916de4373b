"""One step of a run as a straight path between two states of a model, and what a task's loss does along it.

Symbols: Delta_l = theta_t - theta_(t-1) in parameter group l; a in 0..1 a place on the path theta_(t-1) + a Delta;
V the basis of a task's input directions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from geodiag.extraction.measurements.attribution.changes import (
    OWN_INPUTS,
    RANDOM_INPUTS,
    WHOLE_CHANGE,
    Piece,
    within_subspace,
)
from geodiag.extraction.measurements.attribution.products import ChangeProducts, Values, values_by_example
from geodiag.extraction.measurements.attribution.quadrature import LEVELS, PathIntegral, Point, path_integral
from geodiag.extraction.measurements.attribution.subspaces import TaskBases, random_basis
from geodiag.models.batches import EncodedProbe
from geodiag.models.groups import ParameterGroup, WeightSlot
from geodiag.models.runner import ModelRunner
from geodiag.models.states import ModelState, WeightDelta


@dataclass(frozen=True)
class Allocation:
    """The loss change of one task over one step, by group and example."""

    groups: tuple[ParameterGroup, ...]
    """In the order of the integral's groups."""
    integral: PathIntegral
    squared: Mapping[str, float]
    """||Delta_l||_F^2 by group."""
    projected: Mapping[str, float] | None
    """||Delta_l V||_F^2 by group of matrices; None where the task has no update of its own."""


class StepPath:
    """The path of one step, with its changes held on the model's device or read where they are used.

    Args:
        runner: at the state before the step.
        after: the state after it.
        memory: bytes that changes may take on the device at once; more of them are read from their files at each use.
    """

    def __init__(self, runner: ModelRunner, after: ModelState, *, memory: int) -> None:
        self._runner, self._after = runner, after
        self.groups = tuple(runner.groups.values())
        self._parameters = {name for name, _ in runner.model.named_parameters()}
        held = 4 * sum(group.entries for group in self.groups) <= memory
        self._changes: dict[WeightSlot, Callable[[], WeightDelta]] = {}
        self.squared: dict[str, float] = dict.fromkeys((group.name for group in self.groups), 0.0)
        for slot in runner.slots:
            change = runner.delta(after, slot)
            size = change.squared_norm()
            self.squared[slot.group] += size
            if size > 0 and slot.parameter in self._parameters:
                self._changes[slot] = partial(_same, change) if held else partial(runner.delta, after, slot)

    @property
    def changed(self) -> tuple[WeightSlot, ...]:
        """The slots that the step changes."""
        return tuple(self._changes)

    def change(self, slot: WeightSlot) -> WeightDelta:
        """The change of one of them."""
        return self._changes[slot]()

    @property
    def routed(self) -> bool:
        """Whether tokens are routed to experts."""
        return any(group.family == "router" for group in self.groups)

    def allocate(
        self,
        examples: Sequence[EncodedProbe],
        *,
        batch_tokens: int,
        bases: TaskBases | None,
        names: tuple[str, ...],
        floor: float = 0.0,
        levels: tuple[int, ...] = LEVELS,
    ) -> Allocation:
        """Integrates the products of a task's gradients with the step's changes along the path.

        Args:
            examples: of the task.
            batch_tokens: the most tokens of a batch.
            bases: of the task's own update; None where it has none.
            names: the run, step and task, by which random directions are drawn.
            floor: the precision of a loss difference in nats.
            levels: numbers of points to try, each nested in the next.
        """
        pieces, projected = self._pieces(bases, names)
        directions = (WHOLE_CHANGE,) if bases is None else (WHOLE_CHANGE, OWN_INPUTS, RANDOM_INPUTS)
        products = ChangeProducts(self._runner.model, pieces)

        def point(place: float) -> Point:
            with self._runner.edited(self._after, place):
                device = self._runner.device
                losses, values = values_by_example(products, examples, batch_tokens=batch_tokens, device=device)
            return Point(losses, self._stacked(values, directions, len(examples)))

        integral = path_integral(point, floor=floor, routed=self.routed, levels=levels)
        return Allocation(self.groups, integral, self.squared, projected)

    def _pieces(
        self, bases: TaskBases | None, names: tuple[str, ...]
    ) -> tuple[dict[str, list[Piece]], dict[str, float] | None]:
        pieces: dict[str, list[Piece]] = defaultdict(list)
        projected: dict[str, float] = {}
        for slot, change in self._changes.items():
            within = {} if bases is None or slot.layer is None else self._within(slot, change(), bases, names)
            if within:
                # ||Delta V V'||_F = ||Delta V||_F
                projected[slot.group] = projected.get(slot.group, 0.0) + within[OWN_INPUTS].squared_norm()
            pieces[slot.parameter].append(Piece(slot.group, change, slot.part, within))
        return pieces, None if bases is None else projected

    def _within(
        self, slot: WeightSlot, change: WeightDelta, bases: TaskBases, names: tuple[str, ...]
    ) -> dict[str, WeightDelta]:
        assert slot.layer is not None
        V = bases.of(slot)
        other = random_basis(*V.shape, names=(*names, slot.layer.name)).to(V)
        return {OWN_INPUTS: within_subspace(change, V), RANDOM_INPUTS: within_subspace(change, other)}

    def _stacked(self, values: Values, directions: Sequence[str], count: int) -> torch.Tensor:
        zero = torch.zeros(count, dtype=torch.float64)
        rows = [
            torch.stack([values.get((direction, group.name), zero) for group in self.groups])
            for direction in directions
        ]
        return torch.stack(rows)


def _same(change: WeightDelta) -> WeightDelta:
    return change
