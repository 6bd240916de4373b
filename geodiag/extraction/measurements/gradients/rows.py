"""Gradient conflict of one run as rows of the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn

from geodiag.common.schema import defined
from geodiag.common.text import counted
from geodiag.errors import CheckpointError, GeodiagError, SettingsError
from geodiag.extraction.measurements.gradients.compare import Compared, compare_tasks
from geodiag.extraction.measurements.gradients.held import bytes_text
from geodiag.extraction.measurements.gradients.plan import GradientPlan, GradientStep
from geodiag.extraction.measurements.measurement import Cost, MeasurementPlan, Row, Rows, Standing
from geodiag.geometry import gradient_cosines, gradient_norms
from geodiag.geometry.numerics import pick_device
from geodiag.models.batches import EncodedProbe, cut_counts, encode_probe
from geodiag.models.loading import load_model, load_tokenizer
from geodiag.models.scores import DEFAULT_BATCH_TOKENS


@dataclass(frozen=True)
class GradientRun(MeasurementPlan):
    """The gradients of a run, planned on a device; a part is a step."""

    plan: GradientPlan
    device: str

    unit = "steps"
    nothing = "no step has two tasks to compare"

    @property
    def parts(self) -> list[str]:
        """One a step that has two tasks to compare."""
        return [_part(step.step) for step in self.plan.steps]

    @property
    def config(self) -> dict[str, Any]:
        """The options, and a digest of each task's drawn probes, so that other probes under the same name are seen."""
        seed = self.plan.options.seed
        digests = {task: "".join(probe.digest(seed) for probe in probes) for task, probes in self.plan.probes.items()}
        drawn = {task: hashlib.sha256(text.encode()).hexdigest()[:16] for task, text in digests.items()}
        return self.plan.options.to_config() | {"drawn": drawn}

    @property
    def notes(self) -> tuple[str, ...]:
        """Tasks without probes, probes that are there twice."""
        return self.plan.notes

    def lines(self) -> list[str]:
        """What is held against the budget, and the passes that follow from it."""
        return self.plan.lines()

    def cost(self) -> Cost:
        """Bytes of the states read, and the most that model and gradients take."""
        held = max((self.plan.held_bytes(step) for step in self.plan.steps), default=0)
        pairs = sum(len(step.tasks) * (len(step.tasks) - 1) // 2 for step in self.plan.steps)
        return Cost(
            read=self.plan.model_bytes * len(self.plan.steps),
            memory=self.plan.model_bytes + held,
            rows=pairs * len(self.plan.layers),
        )

    def rows(self, parts: Sequence[str], *, say: Callable[[str], None]) -> Iterator[tuple[str, Rows]]:
        """Computes the steps named."""
        others = [step.step for step in self.plan.steps if _part(step.step) not in set(parts)]
        for step, rows in gradient_rows(self.plan, device=self.device, done=others, say=say):
            yield _part(step), {"gradients": rows}

    def standing(self, stored: Mapping[str, Any]) -> Standing:
        """`grown` where the options are the same and of every task that was there the same was drawn."""
        wanted = self.config
        if stored == wanted:
            return "current"
        before, now = stored.get("drawn"), wanted["drawn"]
        if not isinstance(before, dict) or {**stored, "drawn": now} != wanted:
            return "other"
        return "grown" if all(now.get(task) == digest for task, digest in before.items()) else "other"

    def stored_parts(self, tables: Mapping[str, pl.DataFrame]) -> set[str]:
        """The steps that have rows."""
        return {_part(step) for step in tables["gradients"]["step"].unique()}

    def outcome(self, computed: int) -> str:
        """`gradients at 2 steps`."""
        return f"gradients at {counted(computed, 'step')}"


def _part(step: int) -> str:
    return f"step-{step:04d}"


def gradient_rows(
    plan: GradientPlan,
    *,
    device: str = "auto",
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    done: Collection[int] = (),
    say: Callable[[str], None] | None = None,
) -> Iterator[tuple[int, list[Row]]]:
    """Computes step after step and yields its rows of the table `gradients`, without the run column.

    g_i is the mean over the drawn probes of task i of the gradient of the mean cross-entropy of a probe's
    target tokens, in evaluation mode, at the state after the step. One model is in memory at a time.

    Args:
        plan: from `gradient_plan`.
        device: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:<n>`.
        batch_tokens: the most tokens of a micro-batch, which bounds activations and changes no value.
        done: steps to leave out, because they were computed before.
        say: is told once of each thing that a person should know, such as prompts that were cut.

    Yields:
        A step and its rows: one a layer and pair of active tasks, `task_i` the one trained earlier. A cosine or
        reliability with a zero gradient is None.

    Raises:
        CheckpointError: a state or its tokenizer cannot be loaded, or a gradient is not finite.
        ProbesError: a probe's target does not fit.
        SettingsError: no such device, too little memory on it, or transformers is not installed.
    """
    place, said = pick_device(device), set[tuple[str, str]]()
    for step in plan.steps:
        if step.step in done:
            continue
        try:
            encoded = _encoded(plan, step)
            cut = {task: n for task, n in cut_counts(encoded).items() if (task, n) not in said}
            if cut and say is not None:
                named = ", ".join(f"{task} {n}" for task, n in cut.items())
                say(f"run {plan.manifest.run}: prompts cut from the left to {plan.max_length} tokens: {named}")
            said.update(cut.items())
            yield step.step, _step_rows(plan, step, encoded, place, batch_tokens)
        except GeodiagError as error:
            error.run, error.step = plan.manifest.run, step.step
            raise
        except torch.OutOfMemoryError as error:
            message = f"the device's memory does not hold the model, a micro-batch and {bytes_text(plan.memory_budget)}"
            fix = "lower the memory budget or batch tokens, or compute in bfloat16"
            raise SettingsError(message, run=plan.manifest.run, step=step.step, fix=fix) from error


def _encoded(plan: GradientPlan, step: GradientStep) -> dict[str, list[EncodedProbe]]:
    manifest, options = plan.manifest, plan.options
    tokenizer = load_tokenizer(manifest.steps[step.step - 1].state, base=manifest.base)
    encode = partial(encode_probe, tokenizer=tokenizer, max_length=plan.max_length, chat_template=options.chat_template)
    return {task: list(map(encode, plan.probes[task])) for task in step.tasks}


def _step_rows(
    plan: GradientPlan,
    step: GradientStep,
    encoded: Mapping[str, Sequence[EncodedProbe]],
    device: torch.device,
    batch_tokens: int,
) -> list[Row]:
    manifest = plan.manifest
    state = manifest.steps[step.step - 1].state
    model = load_model(state, base=manifest.base, device=device, precision=plan.options.precision)
    _check_vocabulary(model, encoded, state)
    rows = compare_tasks(model, step.passes, list(encoded.values()), batch_tokens=batch_tokens)
    by_layer = {compared.layer.name: compared for compared in rows}
    return [row for layer in plan.layers for row in _pair_rows(step, by_layer[layer.name])]


def _pair_rows(step: GradientStep, compared: Compared) -> Iterator[Row]:
    layer, reliability = compared.layer, _numbers(compared.reliability)
    norm, cosine = gradient_norms(compared.gram).tolist(), gradient_cosines(compared.gram)
    for i, j in combinations(range(len(step.tasks)), 2):
        yield {
            "step": step.step,
            "layer": layer.name,
            "task_i": step.tasks[i],
            "task_j": step.tasks[j],
            "block": layer.block,
            "family": layer.family,
            "cos": _numbers(cosine[i])[j],
            "dot": compared.gram[i, j].item(),
            "norm_i": norm[i],
            "norm_j": norm[j],
            "reliability_i": reliability[i],
            "reliability_j": reliability[j],
        }


def _numbers(values: Tensor) -> list[float | None]:
    return [defined(value) for value in values.tolist()]


def _check_vocabulary(model: nn.Module, encoded: Mapping[str, Sequence[EncodedProbe]], state: Path) -> None:
    """A token that the model does not know would end a GPU's context, not only the run."""
    rows = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    top = max(max(example.ids) for examples in encoded.values() for example in examples)
    if top >= rows:
        message = f"the tokenizer gives token {top}, and the model has {rows} embeddings"
        raise CheckpointError(message, where=state, fix="save the state with its own tokenizer")
