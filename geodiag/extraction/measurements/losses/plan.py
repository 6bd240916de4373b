"""Plan of the losses of a run: its states and tasks, forward passes and memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import polars as pl
import torch

from geodiag.checkpoints import Checkpoint
from geodiag.checkpoints.tensor_names import text_config
from geodiag.common.text import counted, listed
from geodiag.errors import GeodiagError, ProbesError
from geodiag.extraction.measurements.gradients.held import bytes_text
from geodiag.extraction.measurements.losses.settings import LossOptions
from geodiag.extraction.measurements.measurement import Cost, MeasurementPlan, Standing
from geodiag.extraction.run import PreparedRun
from geodiag.models.batches import EncodedProbe
from geodiag.models.divergence import MOST_POSITIONS
from geodiag.models.probes import RunProbes, run_probes
from geodiag.models.runner import Precision, fitting_precision, model_bytes
from geodiag.models.scores import batch_plan
from geodiag.models.states import ModelState, model_state
from geodiag.runs import Manifest

FLOAT32_EXAMPLES = 8
"""Examples of each task that are run in float32 too where the model computes in bfloat16."""


@dataclass(frozen=True)
class LossPart:
    """One task at one state, the unit of restart."""

    step: int
    """0 is the base."""
    task: str

    @property
    def name(self) -> str:
        """`state-0003 biology`."""
        return f"state-{self.step:04d} {self.task}"


@dataclass(frozen=True)
class LossPlan(MeasurementPlan):
    """What one run's losses take, on a device; a part is a task at a state. Made from headers and small files."""

    run: PreparedRun
    options: LossOptions
    probes: RunProbes
    precision: Precision

    unit = "tasks at states"
    nothing = "no task has probes"

    @property
    def manifest(self) -> Manifest:
        """The run's."""
        return self.run.plan.manifest

    @property
    def base(self) -> Checkpoint:
        """The run's base."""
        weights = self.run.checkpoints[self.manifest.base]
        assert isinstance(weights, Checkpoint)
        return weights

    @property
    def n_states(self) -> int:
        """T + 1."""
        return len(self.manifest.steps) + 1

    def state(self, step: int) -> ModelState:
        """The state after a step; 0 is the base."""
        path = self.manifest.base if step == 0 else self.manifest.steps[step - 1].state
        return model_state(self.run.checkpoints[path], base=self.base)

    @cached_property
    def by_name(self) -> Mapping[str, LossPart]:
        """Every part by its name, state after state."""
        parts = [LossPart(step, task) for step in range(self.n_states) for task in self.probes.tasks]
        return {part.name: part for part in parts}

    @property
    def parts(self) -> list[str]:
        """One a state and task."""
        return list(self.by_name)

    @property
    def config(self) -> dict[str, Any]:
        """The options, a digest of each task's encoded examples, and what computes them."""
        return {
            **self.options.to_config(),
            "precision": self.precision,
            **self.probes.config,
            "states": self.n_states,
            "computed": {
                "device": self.run.device.type,
                "attention": "sdpa or eager",
                **{package: _version(package) for package in ("torch", "transformers")},
            },
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """Tasks without probes or with few, probes left out."""
        others = [str(step) for step, key in enumerate(self.probes.tokenizers) if key]
        if not others:
            return self.probes.notes
        line = f"run {self.manifest.run}: the tokenizers of steps {listed(others, most=6)} give other tokens than the "
        return (*self.probes.notes, line + "base's, with which probes are encoded; differences across them are null")

    def lines(self) -> list[str]:
        """States, passes and memory."""
        tasks, examples = self.probes.tasks, self._examples
        head = (
            f"run {self.manifest.run}: losses of {counted(len(tasks), 'task')} at {counted(self.n_states, 'state')}, "
        )
        head += (
            f"{counted(len(examples), 'example')} of {counted(sum(len(e.ids) for e in examples), 'token')}, model in "
        )
        head += f"{self.precision} ({bytes_text(model_bytes(self.base, self.precision))})"
        return [head, *self._pass_lines(), *self.notes]

    def _pass_lines(self) -> Iterator[str]:
        passes = self.n_states * len(self.probes.tasks)
        yield (
            f"{counted(passes, 'forward pass').replace('passs', 'passes')} over a task's examples, one a state and "
            f"task, in {counted(sum(len(self._batches(task)) for task in self.probes.tasks), 'batch')}es a state"
        ).replace("1 batches", "1 batch")
        if self.precision == "bfloat16":
            n = 4 * len(self.probes.tasks)
            yield f"{n} more over {FLOAT32_EXAMPLES} examples a task, at the first and last state in both precisions"
        where = "in memory" if self.kept_bytes <= self.run.memory else "on disk"
        yield (
            f"memory: {bytes_text(self.device_bytes)} on the device at once; hidden states of two states and the base "
            f"take {bytes_text(self.kept_bytes)} {where}"
        )

    def cost(self) -> Cost:
        """Bytes of all states' weights, forward products, and the most that the model and a batch take."""
        tokens = sum(len(example.ids) for example in self._examples)
        weights = model_bytes(self.base, self.precision)
        entries = weights // (4 if self.precision == "float32" else 2)
        return Cost(
            read=weights * self.n_states,
            flops=2.0 * entries * tokens * self.n_states,
            memory=self.device_bytes,
            rows=self.n_states * (len(self.probes.tasks) + len(self._examples)),
        )

    @property
    def _examples(self) -> list[EncodedProbe]:
        return [example for probes in self.probes.tasks.values() for example in probes.examples]

    def _batches(self, task: str) -> list[tuple[int, ...]]:
        return batch_plan(self.probes.tasks[task].examples, batch_tokens=self.options.batch_tokens)

    @property
    def kept_bytes(self) -> int:
        """Hidden states of the base, the state before and this one."""
        positions = sum(min(example.n_target, MOST_POSITIONS) for example in self._examples)
        return 3 * positions * self._sizes[0] * self._item

    @property
    def device_bytes(self) -> int:
        """The model, the heads of two other states, and what one batch takes at the most."""
        width, vocabulary, inner = self._sizes
        heads = 2 * width * vocabulary * self._item
        return model_bytes(self.base, self.precision) + heads + max(self._batch_bytes(width, vocabulary, inner))

    def _batch_bytes(self, width: int, vocabulary: int, inner: int) -> Iterator[int]:
        """Of every batch: logits of its predicting positions and their chunk in float32, or a block's activations."""
        for probes in self.probes.tasks.values():
            for indices in self._batches(probes.task):
                rows = [probes.examples[n] for n in indices]
                length, most = max(len(row.ids) for row in rows), max(row.n_target for row in rows)
                spread = length if min(len(row.ids) for row in rows) < length else most
                logits = len(rows) * min(length, spread) * vocabulary * 2 * self._item + 3 * 4 * 2**25
                blocks = len(rows) * length * (8 * width + 3 * inner) * self._item
                yield max(logits, blocks)

    @property
    def _item(self) -> int:
        return 4 if self.precision == "float32" else 2

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """Width, vocabulary and inner width of the model, by its configuration."""
        config = text_config(self.base.config)
        width = int(config.get("hidden_size") or config.get("n_embd") or 0)
        vocabulary = int(config.get("vocab_size") or 0)
        inner = int(config.get("intermediate_size") or config.get("n_inner") or 4 * width)
        return width, vocabulary, inner

    def standing(self, stored: Mapping[str, Any]) -> Standing:
        """`grown` where options and precision are the same and every task that was there has the same examples."""
        wanted, before = dict(self.config), dict(stored)
        for config in (wanted, before):
            config.pop("computed", None)
        if before == wanted:
            return "current"
        was, now = before.pop("probes", None), wanted.pop("probes")
        states = before.pop("states", None), wanted.pop("states")
        if before != wanted or not isinstance(was, dict) or not isinstance(states[0], int):
            return "other"
        same = all(now.get(task) == digest for task, digest in was.items()) and states[0] <= states[1]
        return "grown" if same else "other"

    def stored_parts(self, tables: Mapping[str, pl.DataFrame]) -> set[str]:
        """The states and tasks that have rows."""
        rows = tables["losses"].select("step", "task").iter_rows()
        return {LossPart(step, task).name for step, task in rows}

    def outcome(self, computed: int) -> str:
        """`losses of 3 tasks at 4 states`."""
        whole = computed == len(self.parts)
        text = f"losses of {counted(len(self.probes.tasks), 'task')} at {counted(self.n_states, 'state')}"
        return text if whole else f"{text}, {computed} of {len(self.parts)} of them new"


def loss_inputs(run: PreparedRun, options: LossOptions, *, strict: bool = False) -> tuple[RunProbes, Precision]:
    """The encoded probes of a run, and what the model computes in.

    Args:
        run: the run, opened.
        options: which examples, and how.
        strict: whether a trained task without probes is an error; by default it is noted.

    Raises:
        ProbesError: no probes, a wrong line, too many that are too long, or (strict) a trained task without.
        SettingsError: transformers is not installed.
        CheckpointError: the base has no tokenizer.
    """
    manifest = run.plan.manifest
    try:
        longest = min(options.max_length, longest_input(run))
        probes = run_probes(manifest, per_task=options.examples, max_length=longest)
        missing = [task for task in manifest.tasks if task not in probes.tasks]
        if missing and strict:
            raise ProbesError(f"no probes of {listed(missing)}", where=manifest.probes, fix="name tasks as in run.yaml")
    except GeodiagError as error:
        error.run = manifest.run
        raise
    base = run.checkpoints[manifest.base]
    assert isinstance(base, Checkpoint)
    chosen = options.precision
    return probes, fitting_precision(base, memory=run.memory) if chosen == "auto" else chosen


def longest_input(run: PreparedRun) -> int:
    """Most tokens that the base reads, by its configuration."""
    base = run.checkpoints[run.plan.manifest.base]
    config = getattr(base, "config", {})
    for part in (config, text_config(config)):
        for key in ("max_position_embeddings", "n_positions"):
            value = part.get(key)
            if isinstance(value, int) and value > 0:
                return value
    return 2**31


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return torch.__version__ if package == "torch" else ""
