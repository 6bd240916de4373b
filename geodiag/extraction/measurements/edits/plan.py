"""Plan of the edits of a run: which steps, how many passes, and the loop over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
import torch

from geodiag.checkpoints import Checkpoint
from geodiag.common.text import counted, listed
from geodiag.errors import GeodiagError, SettingsError, StoreError
from geodiag.extraction.measurements.attribution.subspaces import TaskBases
from geodiag.extraction.measurements.edits.scoring import EditScorer
from geodiag.extraction.measurements.edits.settings import EditOptions
from geodiag.extraction.measurements.edits.stages import StepStages, slots
from geodiag.extraction.measurements.edits.steps import EditStep, edit_steps
from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.extraction.measurements.losses.plan import loss_inputs, stored_loss_options
from geodiag.extraction.measurements.losses.settings import LossOptions
from geodiag.extraction.measurements.measurement import Cost, MeasurementPlan, Rows, Standing, StoredRun
from geodiag.extraction.plan import Update
from geodiag.extraction.run import PreparedRun
from geodiag.models.probes import RunProbes
from geodiag.models.runner import ModelRunner, Precision, exact_arithmetic, model_bytes
from geodiag.models.states import ModelState, model_state

SLOTS_A_STEP = 2 + 26 + 28
"""About how many edits of a step are scored, with its states and controls."""


@dataclass(frozen=True)
class EditRun(MeasurementPlan):
    """The edits of a run; a part is an edit of a step."""

    run: PreparedRun
    options: EditOptions
    selection: GeometrySettings
    losses: LossOptions
    """How the losses of the run were measured: edits are scored alike."""
    precision: Precision
    probes: RunProbes
    steps: tuple[EditStep, ...] | None = None
    """None until the losses and allocations of the run are at hand."""
    left_out: tuple[EditStep, ...] = ()
    """Lossy steps that the budget leaves out."""
    _finished: dict[str, pl.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    unit = "edits"
    nothing = "no step lost an old task with probes enough"

    @property
    def parts(self) -> list[str]:
        """One a step and edit, step by step."""
        return [_part_name(step.step, slot) for step in self.steps or () for slot in slots(step)]

    @property
    def config(self) -> dict[str, Any]:
        """The options, how examples are scored, and the steps that are edited."""
        geometry = {key: getattr(self.selection, key) for key in ("rank", "energy", "energy_of", "lam", "spectrum")}
        return {
            **self.options.to_config(),
            "losses": self.losses.to_config() | {"precision": self.precision},
            **self.probes.config,
            "directions": geometry,
            "edited": [step.step for step in self.steps or ()],
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """Steps that the budget leaves out."""
        if not self.left_out:
            return ()
        names = listed([f"{step.step} (p_target of {step.lost[0]} fell by {step.fall:.2f})" for step in self.left_out])
        return (f"run {self._name}: the edits of step {names} are over the budget and left out",)

    @property
    def _name(self) -> str:
        return self.run.plan.manifest.run

    @property
    def _base(self) -> Checkpoint:
        base = self.run.checkpoints[self.run.plan.manifest.base]
        assert isinstance(base, Checkpoint)  # a run's base is whole
        return base

    def lines(self) -> list[str]:
        """Forward passes and tokens, at most."""
        size = model_bytes(self._base, self.precision)
        head = f"run {self._name}: edits of steps that lost an old task, as the losses will show"
        later = self.run.plan.n_steps - 1
        tokens = later * SLOTS_A_STEP / 2 * sum(_tokens(self.probes, task) for task in self._probed)
        return [
            f"{head}; at most {counted(later, 'step')}, about {SLOTS_A_STEP} edits each",
            f"{tokens / 1e6:.2f} million tokens forward at most, model in {self.precision} ({size / 1e9:.2f} GB) with "
            "one matrix's change at a time",
            *self.notes,
        ]

    def cost(self) -> Cost:
        """Bytes of weights read and put back, and rows, at most."""
        scored = SLOTS_A_STEP * (self.run.plan.n_steps - 1)
        size = model_bytes(self._base, self.precision)
        return Cost(read=3 * size * scored, memory=size, rows=scored * len(self.probes.tasks))

    @property
    def _probed(self) -> list[str]:
        return [task for task, probes in self.probes.tasks.items() if probes.judgeable]

    def with_stored(self, stored: StoredRun) -> EditRun:
        """The plan with the losses, scores and allocations of the run.

        Raises:
            StoreError: losses or attribution were not measured, or of other probes.
        """
        fix = "--measure losses,attribution,edits"
        losses = stored_loss_options(stored.config, self._name, needed_by="edits", fix=fix)
        if "attribution" not in stored.config:
            raise StoreError("edits build on attribution, which was not measured", run=self._name, fix=fix)
        plan = _planned(self.run, self.options, self.selection, losses)
        manifest = self.run.plan.manifest
        steps = list(
            edit_steps(
                self._name,
                manifest.tasks,
                probed=plan._probed,
                tables=stored.tables,
                every_step=self.options.steps == "all",
                experts=manifest.updates == "experts",
            )
        )
        kept = plan._within_budget(steps)
        left_out = tuple(step for step in steps if step not in kept)
        return replace(plan, steps=tuple(kept), left_out=left_out)

    def _within_budget(self, steps: Sequence[EditStep]) -> list[EditStep]:
        """The steps with the largest losses whose tokens are within the budget, in order."""
        if self.options.budget is None:
            return list(steps)
        left, kept = self.options.budget * 1e6, set[int]()
        for step in sorted(steps, key=lambda step: -step.fall):
            left -= len(slots(step)) / 2 * sum(_tokens(self.probes, task) for task in step.tasks)
            if left < 0:
                break
            kept.add(step.step)
        return [step for step in steps if step.step in kept]

    def resume(self, finished: Mapping[str, pl.DataFrame]) -> None:
        """Takes the scores of edits that were finished before."""
        self._finished.update(finished)

    def rows(self, parts: Sequence[str], *, say: Callable[[str], None]) -> Iterator[tuple[str, Rows]]:  # noqa: ARG002
        """Scores the edits named, step after step."""
        wanted, runner = set(parts), None
        try:
            for step in self.steps or ():
                own = [slot for slot in slots(step) if _part_name(step.step, slot) in wanted]
                if own:
                    runner = self._at(step.step - 1, runner)
                    with exact_arithmetic():
                        for slot, rows in self._stages(step, runner).rows(own):
                            yield _part_name(step.step, slot), rows
        except GeodiagError as error:
            error.run = self._name
            raise
        except torch.OutOfMemoryError as error:
            what = "the device's memory does not hold the model and a batch"
            fix = "measure the losses with a smaller --loss-batch-tokens, or in bfloat16"
            raise SettingsError(what, where="edits", run=self._name, fix=fix) from error

    def _at(self, step: int, runner: ModelRunner | None) -> ModelRunner:
        state = self._state(step)
        if runner is None:
            base, device = self.run.plan.manifest.base, self.run.device
            return ModelRunner.load(state, base=base, device=device, precision=self.precision, purpose="edits")
        runner.move_to(state)
        return runner

    def _state(self, step: int) -> ModelState:
        manifest = self.run.plan.manifest
        path = manifest.base if step == 0 else manifest.steps[step - 1].state
        return model_state(self.run.checkpoints[path], base=self._base)

    def _stages(self, step: EditStep, runner: ModelRunner) -> StepStages:
        updates = [update for update in self.run.plan.updates if update.role == "task"]
        earlier = {update.task: update for update in updates if update.step < step.step}
        new = next(update for update in updates if update.step == step.step)
        scorer = EditScorer(
            runner,
            self._state(step.step),
            {task: self.probes.tasks[task] for task in step.tasks},
            self.losses.batch_tokens,
            (self._name, str(step.step), *step.lost),
            lost=[self._bases(earlier[task]) for task in step.lost if task in earlier],
            others=[self._bases(earlier[task]) for task in step.side if task in earlier],
            own=self._ends(new) if self.run.plan.manifest.updates == "experts" else None,
        )
        rows = self._finished.get("edit_examples")
        finished = [] if rows is None else rows.filter(pl.col("step") == step.step).to_dicts()
        return StepStages(self._name, step, scorer, finished)

    def _ends(self, update: Update) -> tuple[ModelState, ModelState]:
        new, old = (model_state(self.run.checkpoints[path], base=self._base) for path in (update.new, update.old))
        return new, old

    def _bases(self, update: Update) -> TaskBases:
        return TaskBases(*self._ends(update), self.selection, self.run.device)

    def standing(self, stored: Mapping[str, Any]) -> Standing:
        """`grown` where more steps are to be edited than were."""
        wanted, before = dict(self.config), dict(stored)
        if before == wanted:
            return "current"
        was, now = before.pop("edited", None), wanted.pop("edited")
        before_probes, now_probes = before.pop("probes", None), wanted.pop("probes")
        if before != wanted or not isinstance(was, list) or not isinstance(before_probes, dict):
            return "other"
        if any(now_probes.get(task) != digest for task, digest in before_probes.items()):
            return "other"
        return "current" if set(now) <= set(was) else "grown"

    def stored_parts(self, tables: Mapping[str, pl.DataFrame]) -> set[str]:
        """Every part of steps that have rows."""
        stored = set(tables["edits"]["step"].unique())
        return {_part_name(step.step, slot) for step in self.steps or () if step.step in stored for slot in slots(step)}

    def outcome(self, computed: int) -> str:  # noqa: ARG002
        """`edits of 2 steps`."""
        return f"edits of {counted(len(self.steps or ()), 'step')}"


def _part_name(step: int, slot: str) -> str:
    """`step-0003 choosing: scale 0.5`."""
    return f"step-{step:04d} {slot}"


def edit_plan(run: PreparedRun, options: EditOptions, *, selection: GeometrySettings) -> EditRun:
    """Plans the edits of a run as far as its headers and probes tell.

    Args:
        run: the run, opened.
        options: which steps.
        selection: the geometry settings, which decide the tasks' directions.

    Raises:
        ProbesError: no probes, a wrong line, or too many that are too long.
        SettingsError: transformers is not installed.
        CheckpointError: the base has no tokenizer.
    """
    return _planned(run, options, selection, LossOptions())


def _planned(run: PreparedRun, options: EditOptions, selection: GeometrySettings, losses: LossOptions) -> EditRun:
    probes, precision = loss_inputs(run, losses)
    return EditRun(run, options, selection, losses, precision, probes)


def _tokens(probes: RunProbes, task: str) -> int:
    return sum(len(example.ids) for example in probes.tasks[task].examples)
