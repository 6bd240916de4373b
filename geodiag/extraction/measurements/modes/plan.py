"""Plan of the modes of a run: old tasks at every step that has an expert, and the loop over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import polars as pl

from geodiag.checkpoints import Checkpoint
from geodiag.common.text import counted
from geodiag.errors import GeodiagError
from geodiag.extraction.measurements.losses.plan import loss_inputs, stored_loss_options
from geodiag.extraction.measurements.losses.settings import LossOptions
from geodiag.extraction.measurements.measurement import Cost, MeasurementPlan, Rows, Standing, StoredRun
from geodiag.extraction.measurements.modes.compare import StepModes
from geodiag.extraction.run import PreparedRun
from geodiag.models.probes import RunProbes
from geodiag.models.runner import ModelRunner, Precision, exact_arithmetic, model_bytes
from geodiag.models.states import ModelState, model_state


@dataclass(frozen=True)
class ModeRun(MeasurementPlan):
    """The modes of a run; a part is an old task at a step."""

    run: PreparedRun
    losses: LossOptions
    precision: Precision
    probes: RunProbes

    unit = "old tasks at steps"
    nothing = "the new tasks' own models are not known, since the run has no experts, or no old task has probes"

    @property
    def _pairs(self) -> list[tuple[int, str]]:
        manifest = self.run.plan.manifest
        if manifest.updates != "experts":
            return []
        tasks = manifest.tasks
        return [
            (step, task)
            for step in range(2, len(tasks) + 1)
            for task in dict.fromkeys(tasks[: step - 1])
            if task in self.probes.tasks and task != tasks[step - 1]
        ]

    @property
    def parts(self) -> list[str]:
        """One a step and old task."""
        return [_part(step, task) for step, task in self._pairs]

    @property
    def config(self) -> dict[str, Any]:
        """How examples are scored, and which."""
        return {
            "losses": self.losses.to_config() | {"precision": self.precision},
            **self.probes.config,
            "pairs": self.parts,
        }

    @property
    def _name(self) -> str:
        return self.run.plan.manifest.run

    @property
    def _base(self) -> Checkpoint:
        base = self.run.checkpoints[self.run.plan.manifest.base]
        assert isinstance(base, Checkpoint)  # a run's base is whole
        return base

    def lines(self) -> list[str]:
        """Forward passes."""
        head = f"run {self._name}: modes of {counted(len(self._pairs), 'old task')} over all steps"
        return [f"{head}, {3 * len(self._pairs)} forward passes over a task's examples"]

    def cost(self) -> Cost:
        """Bytes of three states a step, and rows."""
        steps = len({step for step, _ in self._pairs})
        size = model_bytes(self._base, self.precision)
        return Cost(read=3 * size * steps, memory=size, rows=len(self._pairs))

    def with_stored(self, stored: StoredRun) -> ModeRun:
        """The plan with the probes of the run's losses.

        Raises:
            StoreError: its losses were not measured.
        """
        losses = stored_loss_options(stored.config, self._name, needed_by="modes", fix="--measure losses,modes")
        return mode_plan(self.run, losses)

    def rows(self, parts: Sequence[str], *, say: Callable[[str], None]) -> Iterator[tuple[str, Rows]]:  # noqa: ARG002
        """Compares the three models of every step."""
        wanted = [pair for pair in self._pairs if _part(*pair) in set(parts)]
        runner = None
        try:
            for step, pairs in groupby(wanted, key=lambda pair: pair[0]):
                before, own, after = self._states(step)
                if runner is None:
                    base, device = self.run.plan.manifest.base, self.run.device
                    runner = ModelRunner.load(
                        before, base=base, device=device, precision=self.precision, purpose="modes"
                    )
                tasks = {task: self.probes.tasks[task] for _, task in pairs}
                with exact_arithmetic():
                    modes = StepModes(runner, (before, own, after), tasks, self.losses.batch_tokens)
                    for task in tasks:
                        yield _part(step, task), {"modes": [{"step": step, "task": task, **modes.row(task)}]}
        except GeodiagError as error:
            error.run = self._name
            raise

    def _states(self, step: int) -> tuple[ModelState, ModelState, ModelState]:
        """Before the step, the new task's own model, and after the step."""
        manifest = self.run.plan.manifest
        before = manifest.base if step == 1 else manifest.steps[step - 2].state
        own = manifest.steps[step - 1].expert
        assert own is not None  # of a run of experts
        paths = (before, own, manifest.steps[step - 1].state)
        first, second, third = (model_state(self.run.checkpoints[path], base=self._base) for path in paths)
        return first, second, third

    def standing(self, stored: Mapping[str, Any]) -> Standing:
        """`grown` where steps were added."""
        wanted, before = dict(self.config), dict(stored)
        if before == wanted:
            return "current"
        was, now = before.pop("pairs", None), wanted.pop("pairs")
        before.pop("probes", None), wanted.pop("probes")
        return "grown" if before == wanted and isinstance(was, list) and now[: len(was)] == was else "other"

    def stored_parts(self, tables: Mapping[str, pl.DataFrame]) -> set[str]:
        """The steps and tasks that have rows."""
        return {_part(step, task) for step, task in tables["modes"].select("step", "task").iter_rows()}

    def outcome(self, computed: int) -> str:
        """`modes of 3 old tasks at steps`."""
        return f"modes of {counted(computed, 'old task')} at steps"


def _part(step: int, task: str) -> str:
    return f"step-{step:04d} {task}"


def mode_plan(run: PreparedRun, losses: LossOptions | None = None) -> ModeRun:
    """Plans the modes of a run.

    Args:
        run: the run, opened.
        losses: how its losses were measured; the defaults until that is known.

    Raises:
        ProbesError: no probes, a wrong line, or too many that are too long.
        SettingsError: transformers is not installed.
        CheckpointError: the base has no tokenizer.
    """
    options = losses or LossOptions()
    probes, precision = loss_inputs(run, options)
    return ModeRun(run, options, precision, probes)
