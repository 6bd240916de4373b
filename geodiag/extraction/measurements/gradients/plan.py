"""Plan of the gradient measurement: tasks, probes and passes of each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from geodiag.checkpoints import Checkpoint, Layer, match_layers, open_checkpoint
from geodiag.checkpoints.tensor_names import text_config
from geodiag.common.text import counted
from geodiag.errors import GeodiagError, ProbesError
from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.extraction.measurements.gradients.held import bytes_text, gradient_bytes, split_layers
from geodiag.extraction.measurements.gradients.settings import GradientOptions
from geodiag.extraction.plan import make_plan
from geodiag.extraction.run import DEFAULT_MEMORY
from geodiag.runs import Manifest, Probe, choose_probes, load_probes, repeated_probes


@dataclass(frozen=True)
class GradientStep:
    """One state at which gradients are compared."""

    step: int
    """From 1; the state is the one after it."""
    tasks: tuple[str, ...]
    """The active tasks that have probes, in training order; at least two."""
    passes: tuple[tuple[Layer, ...], ...]
    """The layers of each run over the probes, from the lowest up."""


@dataclass(frozen=True)
class GradientPlan:
    """What one run's gradients take. Made from headers and probes; no weight has been read."""

    manifest: Manifest
    options: GradientOptions
    layers: tuple[Layer, ...]
    """The target layers, as the base has them."""
    probes: Mapping[str, tuple[Probe, ...]]
    """The drawn probes of each task."""
    steps: tuple[GradientStep, ...]
    """The steps with a pair of tasks to compare; the others have no rows."""
    max_length: int
    """The most tokens of an example: what was asked for, or less where the model reads less."""
    memory_budget: int
    """Bytes that gradients may take on the device."""
    stored: Mapping[str, int]
    """The entries of each tensor that holds a target layer."""
    model_bytes: int
    """What the model's weights take beside them."""
    notes: tuple[str, ...]
    """What a person should know: tasks without probes, examples that are there twice."""

    def held_bytes(self, step: GradientStep) -> int:
        """The most that gradients take at a step."""
        return max(gradient_bytes(layers, len(step.tasks), self.stored) for layers in step.passes)

    def lines(self) -> list[str]:
        """The plan for a person: what is held against the budget, and the passes that follow from it."""
        n_probes = {len(probes) for probes in self.probes.values()}
        drawn = f"{min(n_probes)}" if len(n_probes) == 1 else f"{min(n_probes)} to {max(n_probes)}"
        head = f"run {self.manifest.run}: gradients of {counted(len(self.layers), 'layer')} at {len(self.steps)} of "
        head += (
            f"{counted(len(self.manifest.steps), 'step')}, {drawn} probes a task, model in {self.options.precision} "
        )
        head += f"({bytes_text(self.model_bytes)})"
        return [head, *(self._step_line(step) for step in self.steps), *self.notes]

    def _step_line(self, step: GradientStep) -> str:
        whole = gradient_bytes(self.layers, len(step.tasks), self.stored)
        line = f"step {step.step}: {len(step.tasks)} tasks in {len(step.passes)} passes: all layers at once take "
        line += f"{bytes_text(whole)} of gradients, the budget is {bytes_text(self.memory_budget)}"
        if len(step.passes) == 1:
            return line.replace("1 passes", "1 pass")
        spans = ", ".join(f"{layers[0].block}-{layers[-1].block}" for layers in step.passes)
        return f"{line}, a pass takes up to {bytes_text(self.held_bytes(step))} (blocks {spans})"


def gradient_plan(
    manifest: Manifest,
    settings: GeometrySettings,
    options: GradientOptions | None = None,
    *,
    memory_budget: int = DEFAULT_MEMORY,
    strict: bool = False,
) -> GradientPlan:
    """Plans the gradients of a run, and checks its probes.

    Args:
        manifest: the run; its `probes` must be given.
        settings: which layers, by `families` and `layers`.
        options: which probes, and how.
        memory_budget: bytes that gradients may take on the device at once, beside the model and the
            activations of one micro-batch. Fewer bytes take more passes and change no value.
        strict: whether a trained task without probes is an error. By default it is left out and noted.

    Raises:
        ProbesError: no probes, a wrong line, fewer than two trained tasks with probes, or (strict) one without.
        CheckpointError: the base cannot be opened or has no target layers.
        SettingsError: the budget does not hold one layer's gradients.
    """
    options = options or GradientOptions()
    try:
        probes, notes = _probes(manifest, options, strict=strict)
        base = open_checkpoint(manifest.base)
        layers = match_layers(base, families=settings.families, pattern=settings.layers).layers
        stored = {layer.tensor: _entries(base, layer.tensor) for layer in layers}
        steps = tuple(_steps(manifest, probes, layers, stored, memory_budget))
    except GeodiagError as error:
        error.run = manifest.run
        raise
    if not steps:
        notes += (f"run {manifest.run}: no step has two active tasks with probes, so there are no gradients",)
    model_bytes = sum(_entries(base, name) for name in base.names) * (4 if options.precision == "float32" else 2)
    return GradientPlan(
        manifest,
        options,
        layers,
        probes,
        steps,
        min(options.max_length, _longest(base.config)),
        memory_budget,
        stored,
        model_bytes,
        notes,
    )


def _probes(
    manifest: Manifest, options: GradientOptions, *, strict: bool
) -> tuple[dict[str, tuple[Probe, ...]], tuple[str, ...]]:
    if manifest.probes is None:
        fix = "add `probes: probes.jsonl` with lines of task, prompt, target"
        raise ProbesError("gradients need probes, and the manifest names none", where=manifest.path, fix=fix)
    examples = load_probes(manifest.probes)
    drawn = choose_probes(examples, manifest.tasks, per_task=options.probes_per_task, seed=options.seed)
    missing = [task for task in manifest.tasks if task not in drawn]
    notes: list[str] = []
    if missing:
        there = sorted({probe.task for probe in examples} - set(drawn))
        message = f"no probes of {', '.join(missing)}" + (
            f" (there are some of {', '.join(there[:6])})" if there else ""
        )
        if strict or len(drawn) < min(2, len(manifest.tasks)):
            raise ProbesError(message, where=manifest.probes, fix="name tasks as in run.yaml")
        notes.append(f"{manifest.probes}: {message}; pairs with them are left out")
    if repeats := repeated_probes(examples, manifest.tasks):
        notes.append(f"{manifest.probes}: {repeats} probes are there again and count once")
    single = [task for task, probes in drawn.items() if len(probes) == 1]
    if single:
        notes.append(f"{manifest.probes}: one probe only of {', '.join(single)}, so its reliability is unknown")
    return drawn, tuple(notes)


def _steps(
    manifest: Manifest,
    probes: Mapping[str, tuple[Probe, ...]],
    layers: tuple[Layer, ...],
    stored: Mapping[str, int],
    budget: int,
) -> Iterator[GradientStep]:
    plan = make_plan(manifest)
    for step, members in enumerate(plan.active, start=1):
        active = [plan.updates[i] for i in members]
        tasks = tuple(update.task for update in active if update.role == "task" and update.task in probes)
        if len(tasks) >= 2:
            yield GradientStep(step, tasks, split_layers(layers, tasks=len(tasks), stored=stored, budget=budget))


def _entries(checkpoint: Checkpoint, name: str) -> int:
    n = 1
    for size in checkpoint.info(name).shape:
        n *= size
    return n


def _longest(config: Mapping[str, Any]) -> int:
    """The most positions that a model has, by its `config.json`."""
    for part in (config, text_config(config)):
        for key in ("max_position_embeddings", "n_positions"):
            value = part.get(key)
            if isinstance(value, int) and value > 0:
                return value
    return 2**31
