"""Gradient conflict of one run as rows of the store."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor, nn

from geodiag.errors import CheckpointError, GeodiagError, SettingsError
from geodiag.extraction.measurements.geometry.rows import Row
from geodiag.extraction.measurements.gradients.compare import Compared, compare_tasks
from geodiag.extraction.measurements.gradients.held import bytes_text
from geodiag.extraction.measurements.gradients.plan import GradientPlan, GradientStep
from geodiag.extraction.run import pick_device
from geodiag.geometry import gradient_cosines, gradient_norms
from geodiag.models.batches import EncodedProbe, cut_counts, encode_probe
from geodiag.models.loading import load_model, load_tokenizer

DEFAULT_BATCH_TOKENS = 2048
"""The most tokens of a micro-batch, padding included."""


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
            what = f"the device's memory does not hold the model, a micro-batch and {bytes_text(plan.memory_budget)}"
            fix = "lower the memory budget or batch tokens, or compute in bfloat16"
            raise SettingsError(what, run=plan.manifest.run, step=step.step, fix=fix) from error


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
    found = compare_tasks(model, step.passes, list(encoded.values()), batch_tokens=batch_tokens)
    by_layer = {compared.layer.name: compared for compared in found}
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
    """None for NaN: the store knows undefined values as null."""
    return [None if math.isnan(value) else value for value in values.tolist()]


def _check_vocabulary(model: nn.Module, encoded: Mapping[str, Sequence[EncodedProbe]], state: Path) -> None:
    """A token that the model does not know would end a GPU's context, not only the run."""
    rows = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    top = max(max(example.ids) for examples in encoded.values() for example in examples)
    if top >= rows:
        what = f"the tokenizer gives token {top}, and the model has {rows} embeddings"
        raise CheckpointError(what, where=state, fix="save the state with its own tokenizer")
