"""`geodiag edit`: the checkpoint of a step with some of it undone, scored as written, with a line in its model card."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import fmean

from geodiag.checkpoints import Checkpoint, open_checkpoint
from geodiag.common import __version__
from geodiag.common.files import whole_folder
from geodiag.common.schema import FAMILIES
from geodiag.common.text import counted, listed
from geodiag.errors import SettingsError
from geodiag.extraction.measurements.attribution.subspaces import TaskBases
from geodiag.extraction.measurements.edits.scoring import projection, task_directions
from geodiag.extraction.measurements.edits.steps import tasks_to_lose
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.extraction.measurements.losses.plan import loss_inputs
from geodiag.extraction.measurements.losses.settings import LossOptions
from geodiag.extraction.run import PreparedRun, prepare_run
from geodiag.merging.edited_state import EditedState, GroupMultiplier
from geodiag.merging.state_files import side_files
from geodiag.models.groups import ParameterGroup
from geodiag.models.probes import TaskProbes
from geodiag.models.runner import ModelRunner, exact_arithmetic
from geodiag.models.scores import ExampleScore, score_examples
from geodiag.models.states import ModelState, model_state
from geodiag.runs import find_manifests, load_manifest

_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class StepEdit:
    """What is undone of a step; one of three."""

    scale: float | None = None
    """Factor of the whole step, 0..1."""
    revert: tuple[str, ...] = ()
    """Groups to put back: names, families, or patterns with `*`."""
    project: bool = False
    """Project out the input directions of the old tasks."""

    def __post_init__(self) -> None:
        given = [self.scale is not None, bool(self.revert), self.project]
        if sum(given) != 1:
            fix = "give one of --scale, --revert and --project"
            raise SettingsError("an edit does one thing", where="geodiag edit", fix=fix)
        if self.scale is not None and not 0 <= self.scale <= 1:
            raise SettingsError(f"scale is {self.scale}", where="geodiag edit", fix="it must be in 0..1")

    @property
    def text(self) -> str:
        """As a clause."""
        if self.scale is not None:
            return f"the step scaled by {self.scale:g}"
        if self.project:
            return "the old tasks' input directions projected out of the step"
        return f"{', '.join(self.revert)} put back to the state before the step"


@dataclass(frozen=True)
class EditResult:
    """One task's judging examples before the step, after it, and after the edited step as it was written."""

    task: str
    p: tuple[float, float, float]
    """Mean target probability."""
    exact: tuple[float, float, float]
    """Share answered exactly."""
    n: int

    @property
    def text(self) -> str:
        """`alpha .77 -> .08, edited .60 (exact 1.00 -> 0.00, edited 0.80)`."""
        p, exact = ("{:.2f} -> {:.2f}, edited {:.2f}".format(*values) for values in (self.p, self.exact))
        return f"{self.task} {p} (exact {exact})"


@dataclass(frozen=True)
class EditedStep:
    """A checkpoint that was written."""

    path: Path
    groups: tuple[str, ...]
    """Groups that differ from the state after the step."""
    survived: float
    """Share of the edit that its stored type keeps."""
    results: tuple[EditResult, ...]
    """Empty where the run has no probes."""
    line: str
    """Of the model card."""

    def lines(self) -> Iterator[str]:
        """What was done, for a person."""
        yield f"{self.path}: {self.line}"
        yield f"{self.survived:.1%} of the edit survived rounding"
        if not self.results:
            yield "not measured: the run has no probes"


def edit_step(
    runs: Path, *, run: str, step: int, edit: StepEdit, out: Path, dtype: str = "float32", device: str = "auto"
) -> EditedStep:
    """Writes the checkpoint of an edited step, and scores it where the run has probes.

    Args:
        runs: a folder of runs, a run's folder, or a `run.yaml`.
        run: the run's id.
        step: the step, from 1.
        edit: what is undone.
        out: a new folder.
        dtype: of tensors that hold numbers neither state has.
        device: `auto`, `cpu`, `cuda` or `cuda:<n>`.

    Raises:
        SettingsError: there is no such run, step, group or dtype, or the folder is not empty.
        CheckpointError: a state cannot be read.
    """
    if dtype not in _DTYPES:
        raise SettingsError(f"dtype is {dtype!r}", where="--dtype", fix=f"one of {', '.join(_DTYPES)}")
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise SettingsError("the folder is not empty", where=out, fix="name a new one with --out")
    prepared = _prepared(runs, run, step, device)
    work = _Work(prepared, step)
    runner = work.load(work.state(step - 1))
    edited = EditedState(runner, work.state(step), work.multiplier(edit, runner.groups), dtype)
    with exact_arithmetic(), whole_folder(out) as draft:
        for file in side_files(edited.after.whole):
            shutil.copyfile(file, draft / file.name)
        edited.write(draft)
        results = work.results(runner, draft)
        line = _card_line(prepared, step, edit, edited, results)
        _write_card(work.card, draft / "README.md", line)
    return EditedStep(out, tuple(edited.edited), edited.rounding.survived, results, line)


def _prepared(runs: Path, run: str, step: int, device: str) -> PreparedRun:
    manifests = [load_manifest(path) for path in find_manifests(runs)]
    manifest = next((one for one in manifests if one.run == run), None)
    if manifest is None:
        names = listed(sorted(one.run for one in manifests), most=6)
        raise SettingsError(f"there is no run {run!r}", where=runs, fix=f"one of {names}")
    if not 1 <= step <= len(manifest.steps):
        fix = f"a whole number from 1 to {len(manifest.steps)}"
        raise SettingsError(f"step is {step}", where="--step", run=run, fix=fix)
    return prepare_run(manifest, families=FAMILIES, device=device)


@dataclass(frozen=True)
class _Work:
    """The states, directions and probes of one step."""

    run: PreparedRun
    step: int

    @property
    def base(self) -> Checkpoint:
        base = self.run.checkpoints[self.run.plan.manifest.base]
        assert isinstance(base, Checkpoint)  # a run's base is whole
        return base

    @property
    def card(self) -> Path:
        """The model card of the state after the step."""
        path = self._path(self.step)
        return (path if path.is_dir() else path.parent) / "README.md"

    def _path(self, step: int) -> Path:
        manifest = self.run.plan.manifest
        return manifest.base if step == 0 else manifest.steps[step - 1].state

    def state(self, step: int) -> ModelState:
        return model_state(self.run.checkpoints[self._path(step)], base=self.base)

    def load(self, state: ModelState) -> ModelRunner:
        return ModelRunner.load(state, base=self.base.path, device=self.run.device, purpose="edits")

    def multiplier(self, edit: StepEdit, groups: Mapping[str, ParameterGroup]) -> GroupMultiplier:
        if edit.scale is not None:
            factor = edit.scale
            return lambda _: factor
        if edit.project:
            return projection(task_directions(self._old_bases()))
        reverted = set(chosen_groups(edit.revert, groups))
        return lambda group: 0.0 if group.name in reverted else 1.0

    def _old_bases(self) -> list[TaskBases]:
        updates = [update for update in self.run.plan.updates if update.role == "task" and update.step < self.step]
        earlier = {update.task: update for update in updates}
        if not earlier:
            raise SettingsError("no task was trained before the step", where="--project", fix="name a later step")
        states = [
            [model_state(self.run.checkpoints[path], base=self.base) for path in (update.new, update.old)]
            for update in earlier.values()
        ]
        return [TaskBases(new, old, make_settings(), self.run.device) for new, old in states]

    def results(self, runner: ModelRunner, written: Path) -> tuple[EditResult, ...]:
        """Scores of the judging half before, after, and of what was written."""
        manifest = self.run.plan.manifest
        if manifest.probes is None:
            return ()
        probes, _ = loss_inputs(self.run, LossOptions())
        tasks = [*tasks_to_lose(manifest.tasks, probes.tasks, self.step), manifest.tasks[self.step - 1]]
        own = {task: probes.tasks[task] for task in tasks if task in probes.tasks and probes.tasks[task].judgeable}
        scores = [_scores(runner, own)]
        for state in (self.state(self.step), ModelState(open_checkpoint(written))):
            runner.move_to(state)
            scores.append(_scores(runner, own))
        return tuple(_result(task, [by_task[task] for by_task in scores]) for task in own)


def chosen_groups(words: Sequence[str], groups: Mapping[str, ParameterGroup]) -> list[str]:
    """Names of the groups that words name: a group, a family, or a pattern with `*`.

    Raises:
        SettingsError: a word names none.
    """
    chosen: dict[str, None] = {}
    for word in words:
        fits = [g.name for g in groups.values() if word in (g.name, g.family) or fnmatchcase(g.name, word)]
        if not fits:
            families = listed(list(dict.fromkeys(group.family for group in groups.values())))
            fix = f"a family ({families}), a layer such as {next(iter(groups))}, or a pattern of layers with *"
            raise SettingsError(f"no group is named {word!r}", where="--revert", fix=fix)
        chosen |= dict.fromkeys(fits)
    return list(chosen)


def _scores(runner: ModelRunner, tasks: Mapping[str, TaskProbes]) -> dict[str, list[ExampleScore]]:
    halves = {task: [probes.examples[n] for n in probes.of_half("judging")] for task, probes in tasks.items()}
    tokens = LossOptions().batch_tokens
    return {task: score_examples(runner.model, examples, batch_tokens=tokens) for task, examples in halves.items()}


def _result(task: str, scores: Sequence[Sequence[ExampleScore]]) -> EditResult:
    p, exact = ([fmean(values) for values in columns] for columns in (
        [[score.p_target for score in own] for own in scores],
        [[float(score.exact) for score in own] for own in scores],
    ))  # fmt: skip
    return EditResult(task, (p[0], p[1], p[2]), (exact[0], exact[1], exact[2]), len(scores[0]))


def _card_line(run: PreparedRun, step: int, edit: StepEdit, edited: EditedState, results: Sequence[EditResult]) -> str:
    manifest = run.plan.manifest
    line = f"run {manifest.run}, step {step} ({manifest.steps[step - 1].label}), {edit.text}; "
    line += f"{counted(len(edited.edited), 'group')} of weights differ from the state after the step"
    if not results:
        return line
    measured = "; ".join(result.text for result in results)
    return f"{line}. Mean target probability on {results[0].n} probes a task, before -> after the step: {measured}"


def _write_card(source: Path, file: Path, line: str) -> None:
    """The model card of the state with one line more."""
    text = source.read_text(encoding="utf-8").rstrip() + "\n\n" if source.is_file() else ""
    file.write_text(f"{text}Edited with geodiag {__version__}: {line}.\n", encoding="utf-8")
