"""A measurement in one folder: the largest entry of each state's update, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from geodiag.common.schema import F64, LAYER, RUN, STEP, Column, Table
from geodiag.extraction.measurements.measurement import Cost, Measurement, MeasurementPlan, Rows


@dataclass(frozen=True)
class LargestOptions:
    """What is taken as large."""

    power: float = 1.0
    """The power that entries are raised to."""


class LargestEntry(Measurement):
    name = "largest"
    summary = "largest entry of each state's update"
    tables = (
        Table(
            "largest",
            "one state's update in one layer",
            ("run", "step", "layer"),
            (RUN, STEP, LAYER, Column("largest", F64, "max |S_t| to a power", ">= 0")),
        ),
    )
    options = LargestOptions

    def plan(self, run: Any, options: Any, *, selection: Any, strict: bool) -> MeasurementPlan:
        return LargestPlan(run, options)


@dataclass(frozen=True)
class LargestPlan(MeasurementPlan):
    run: Any
    options: LargestOptions

    @property
    def parts(self) -> list[str]:
        return [layer.name for layer in self.run.layers]

    @property
    def config(self) -> dict[str, Any]:
        return asdict(self.options)

    def lines(self) -> list[str]:
        return [f"run {self.run.plan.manifest.run}: largest entries of {len(self.parts)} layers"]

    def cost(self) -> Cost:
        return Cost(rows=len(self.parts) * self.run.plan.n_steps)

    def rows(self, parts: Sequence[str], *, say: Callable[[str], None]) -> Iterator[tuple[str, Rows]]:
        manifest = self.run.plan.manifest
        for layer in self.run.layers:
            if layer.name in parts:
                base = self.run.checkpoints[manifest.base].read_layer(layer).double()
                yield (
                    layer.name,
                    {"largest": [self._row(layer, t, base) for t in range(1, len(manifest.steps) + 1)]},
                )

    def _row(self, layer: Any, step: int, base: Any) -> Mapping[str, Any]:
        state = self.run.checkpoints[self.run.plan.manifest.steps[step - 1].state].read_layer(layer).double()
        return {"step": step, "layer": layer.name, "largest": ((state - base).abs().max() ** self.options.power).item()}

    def outcome(self, computed: int) -> str:
        return f"largest entries of {computed} layers"
