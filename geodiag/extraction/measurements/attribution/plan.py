"""Plan of the allocation of loss changes: which tasks at which steps, its cost, and the loop over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import torch

from geodiag.checkpoints import Checkpoint, match_layers
from geodiag.common.text import counted, listed
from geodiag.errors import GeodiagError, SettingsError
from geodiag.extraction.measurements.attribution.quadrature import LEVELS
from geodiag.extraction.measurements.attribution.rows import allocation_rows
from geodiag.extraction.measurements.attribution.settings import AttributionOptions
from geodiag.extraction.measurements.attribution.step import StepPath
from geodiag.extraction.measurements.attribution.subspaces import TaskBases
from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.extraction.measurements.gradients.held import bytes_text
from geodiag.extraction.measurements.losses.plan import LossPart, loss_inputs
from geodiag.extraction.measurements.losses.rows import LossRun
from geodiag.extraction.measurements.losses.settings import LossOptions
from geodiag.extraction.measurements.measurement import Cost, MeasurementPlan, Row, Rows, Standing
from geodiag.extraction.plan import Update
from geodiag.extraction.run import PreparedRun
from geodiag.models.probes import RunProbes
from geodiag.models.runner import ModelRunner, Precision, exact_arithmetic, model_bytes
from geodiag.models.scores import check_vocabulary
from geodiag.models.states import ModelState, model_state

MOST_EXAMPLE_BYTES = 200 * 10**6
"""Bytes of a run's values by example; where there would be more, none are stored."""


@dataclass(frozen=True)
class AttributionStep:
    """One step, and the tasks whose loss changes over it are allocated."""

    step: int
    old: tuple[str, ...]
    """Tasks trained before it, in training order."""
    new: tuple[str, ...]
    """The task that it trains, where that has probes."""
    skills: tuple[str, ...]
    """Tasks that the run never trains, by name."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.old, *self.new, *self.skills)


@dataclass(frozen=True)
class AttributionRun(MeasurementPlan):
    """The allocation of a run's loss changes; a part is a task at a step."""

    run: PreparedRun
    options: AttributionOptions
    selection: GeometrySettings
    probes: RunProbes
    steps: tuple[AttributionStep, ...]
    precision: Precision
    groups: int
    """About how many rows a task has at a step."""
    _bases: dict[str, TaskBases] = field(default_factory=dict, repr=False, compare=False)

    unit = "loss changes"
    nothing = "no task with probes"

    @property
    def parts(self) -> list[str]:
        """One a step and task, step by step."""
        return [part_name(step.step, task) for step in self.steps for task in step.tasks]

    @property
    def config(self) -> dict[str, Any]:
        """The options, what decides the examples, and the settings of the tasks' input directions."""
        geometry = {key: getattr(self.selection, key) for key in ("rank", "energy", "energy_of", "lam", "spectrum")}
        given = self.options.to_config() | {"precision": self.precision}
        return given | self.probes.config | {"directions": geometry, "steps": self.run.plan.n_steps}

    @property
    def notes(self) -> tuple[str, ...]:
        """Examples left out, tasks with few, values by example that are too many to store."""
        notes = list(self.probes.notes)
        left_out = [str(step) for step in range(1, self.run.plan.n_steps + 1) if not _same_tokens(self.probes, step)]
        if left_out:
            why = "their tokenizer is not that of the state before"
            notes.append(f"run {self._name}: loss changes over steps {listed(left_out, most=6)} are left out: {why}")
        if not self.by_example:
            most = f"more than {MOST_EXAMPLE_BYTES // 10**6} MB"
            notes.append(f"run {self._name}: allocations by example would take {most} and are not stored")
        return tuple(notes)

    @property
    def by_example(self) -> bool:
        """Whether values by example are stored."""
        values = sum(self.groups * len(self.probes.tasks[task].examples) for step in self.steps for task in step.tasks)
        return 4 * values <= MOST_EXAMPLE_BYTES

    @property
    def _name(self) -> str:
        return self.run.plan.manifest.run

    @property
    def _base(self) -> Checkpoint:
        base = self.run.checkpoints[self.run.plan.manifest.base]
        assert isinstance(base, Checkpoint)  # a run's base is whole
        return base

    @property
    def _model_bytes(self) -> int:
        return model_bytes(self._base, self.precision)

    @property
    def _change_bytes(self) -> int:
        """Bytes of changes held on the device: all of them where they fit the budget with the model, else none."""
        changes = model_bytes(self._base, "float32")
        return changes if self._model_bytes + changes <= self.run.memory else 0

    def weight(self, part: str) -> float:
        """Tokens of a part's examples."""
        task = part.partition(" ")[2]
        return float(sum(len(example.ids) for example in self.probes.tasks[task].examples))

    def lines(self) -> list[str]:
        """What is held, and the fewest and most passes of every step."""
        held = bytes_text(self._change_bytes) + " of changes held" if self._change_bytes else "changes read as needed"
        head = f"run {self._name}: {counted(len(self.parts), 'loss change')} at "
        head += f"{counted(len(self.steps), 'step')}, split over about {self.groups} groups of weights, model in "
        head += f"{self.precision} ({bytes_text(self._model_bytes)}), {held}"
        return [head, *(self._step_line(step) for step in self.steps), *self.notes]

    def _step_line(self, step: AttributionStep) -> str:
        kinds = (("old", step.old), ("new", step.new), ("untrained", step.skills))
        tasks = ", ".join(f"{len(names)} {kind}" for kind, names in kinds if names)
        least, most = (count * len(step.tasks) for count in (LEVELS[0], LEVELS[-1]))
        n = sum(len(self.probes.tasks[task].examples) for task in step.tasks)
        line = (
            f"step {step.step}: tasks {tasks}, {counted(n, 'probe')}; a pass forward and backward over a task's probes "
        )
        return line + f"is made {least} times at least (3 points of the path), {most} at most (9)"

    def cost(self) -> Cost:
        """Bytes read for the fewest points, the model and the changes held, and rows."""
        states = model_bytes(self._base, "bfloat16")
        return Cost(
            read=2 * LEVELS[0] * states * len(self.parts),
            memory=self._model_bytes + self._change_bytes,
            rows=self.groups * len(self.parts),
        )

    def standing(self, stored: Mapping[str, Any]) -> Standing:
        """`grown` where steps or tasks were added, and nothing else differs."""
        wanted, before = dict(self.config), dict(stored)
        if before == wanted:
            return "current"
        digests = before.pop("probes", None), wanted.pop("probes")
        steps = before.pop("steps", None), wanted.pop("steps")
        if before != wanted or not isinstance(digests[0], dict) or not isinstance(steps[0], int):
            return "other"
        same = all(digests[1].get(task) == digest for task, digest in digests[0].items())
        return "grown" if same and steps[0] <= steps[1] else "other"

    def stored_parts(self, tables: Mapping[str, pl.DataFrame]) -> set[str]:
        """Steps and tasks that have rows."""
        pairs = tables["attribution"].select("step", "task").unique()
        return {part_name(step, task) for step, task in pairs.iter_rows()}

    def outcome(self, computed: int) -> str:
        """`allocation of 6 loss changes`."""
        return f"allocation of {counted(computed, 'loss change')}"

    def rows(self, parts: Sequence[str], *, say: Callable[[str], None]) -> Iterator[tuple[str, Rows]]:
        """Computes the parts named, with one model in memory that moves from step to step."""
        wanted, runner = set(parts), None
        floors = self._precision_floors() if wanted else {}
        for step in self.steps:
            tasks = [task for task in step.tasks if part_name(step.step, task) in wanted]
            if not tasks:
                continue
            try:
                runner = self._at(runner, step.step)
                for task, rows in self._step_rows(runner, step.step, tasks, floors, say):
                    yield part_name(step.step, task), {"attribution": rows}
            except GeodiagError as error:
                error.run, error.step = self._name, step.step
                raise
            except torch.OutOfMemoryError as error:
                message = "the device's memory does not hold the model, its changes and a batch"
                fix = "lower the memory budget or --attribution-batch-tokens, or compute in bfloat16"
                raise SettingsError(message, run=self._name, step=step.step, fix=fix) from error

    def _step_rows(
        self,
        runner: ModelRunner,
        step: int,
        tasks: Sequence[str],
        floors: Mapping[str, float],
        say: Callable[[str], None],
    ) -> Iterator[tuple[str, list[Row]]]:
        path = StepPath(runner, self._state(step), memory=self._change_bytes)
        for task in tasks:
            examples = self.probes.tasks[task].examples
            check_vocabulary(runner.model, examples)
            with exact_arithmetic():
                allocation = path.allocate(
                    examples,
                    batch_tokens=self.options.batch_tokens,
                    bases=self._task_bases(task, step),
                    names=(self._name, str(step), task),
                    floor=floors.get(task, 0.0),
                )
            if not allocation.integral.converged:
                say(f"run {self._name}: step {step}: the allocation of {task} did not converge with 9 points")
            choosing = [example.half == "choosing" for example in examples]
            rows = allocation_rows(
                allocation, step=step, task=task, choosing=choosing, routed=path.routed, by_example=self.by_example
            )
            yield task, list(rows)

    def _precision_floors(self) -> dict[str, float]:
        """By task, the smallest loss change that bfloat16 shows, as the measurement of losses takes it."""
        if self.precision == "float32":
            return {}
        losses = LossRun(self.run, _loss_options(self.options), self.probes, self.precision)
        bases = [LossPart(0, task).name for task in self.probes.tasks]
        rows = [part["losses"][0] for _, part in losses.rows(bases, say=lambda _text: None)]
        return {row["task"]: row["precision_floor"] for row in rows}

    def _at(self, runner: ModelRunner | None, step: int) -> ModelRunner:
        """The model at the state before a step."""
        before = self._state(step - 1)
        if runner is None:
            return ModelRunner.load(
                before,
                base=self.run.plan.manifest.base,
                device=self.run.device,
                precision=self.precision,
                purpose="allocations",
            )
        runner.move_to(before)
        return runner

    def _state(self, step: int) -> ModelState:
        """The state after a step; the base at 0."""
        manifest = self.run.plan.manifest
        path = manifest.base if step == 0 else manifest.steps[step - 1].state
        return model_state(self.run.checkpoints[path], base=self._base)

    def _task_bases(self, task: str, step: int) -> TaskBases | None:
        """Of the task's last update up to the step; None where it has had none."""
        updates = [u for u in self.run.plan.updates if u.role == "task" and u.task == task and u.step <= step]
        if not updates:
            return None
        key = f"{updates[-1].object}@{updates[-1].step}"
        if key not in self._bases:
            self._bases[key] = self._bases_of(updates[-1])
        return self._bases[key]

    def _bases_of(self, update: Update) -> TaskBases:
        new, old = (model_state(self.run.checkpoints[path], base=self._base) for path in (update.new, update.old))
        return TaskBases(new, old, self.selection, self.run.device)


def attribution_plan(run: PreparedRun, options: AttributionOptions, selection: GeometrySettings) -> AttributionRun:
    """Plans the allocation of a run's loss changes, and checks its probes.

    Args:
        run: opened; only headers are read.
        options: which probes, and how.
        selection: the geometry's settings, by which a task's input directions are truncated.

    Raises:
        ProbesError: no probes, or a wrong line.
        CheckpointError: there is no tokenizer.
    """
    manifest = run.plan.manifest
    probes, precision = loss_inputs(run, _loss_options(options))
    base = run.checkpoints[manifest.base]
    assert isinstance(base, Checkpoint)
    layers = match_layers(base).layers
    matrices = [layer for layer in layers if ".experts." not in layer.name]
    routed = {layer.block for layer in layers if ".experts." in layer.name}
    groups = len(matrices) + 2 * len(routed) + 5
    return AttributionRun(run, options, selection, probes, tuple(_steps(run, probes)), precision, groups)


def _loss_options(options: AttributionOptions) -> LossOptions:
    """The same examples, and the same precision, as the measurement of losses takes them."""
    return LossOptions(**options.to_config())


def _steps(run: PreparedRun, probes: RunProbes) -> Iterator[AttributionStep]:
    trained = run.plan.manifest.tasks
    skills = tuple(task for task in probes.tasks if task not in trained)
    for step, task in enumerate(trained, start=1):
        old = [name for name in dict.fromkeys(trained[: step - 1]) if name in probes.tasks and name != task]
        new = (task,) if task in probes.tasks else ()
        one = AttributionStep(step, tuple(old), new, skills)
        if one.tasks and _same_tokens(probes, step):
            yield one


def _same_tokens(probes: RunProbes, step: int) -> bool:
    """Whether the states before and after a step have one tokenizer."""
    return probes.tokenizers[step] == probes.tokenizers[step - 1]


def part_name(step: int, task: str) -> str:
    """`step-0003 biology`."""
    return f"step-{step:04d} {task}"
