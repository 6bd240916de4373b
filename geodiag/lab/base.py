"""The base of a sequence: a random start trained on a mixture of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from geodiag.common.files import whole_folder
from geodiag.geometry.numerics import pick_device
from geodiag.lab.config import LabConfig, LabProgress
from geodiag.lab.data import EncodedItems, encode_items
from geodiag.lab.model import Model, build_model, build_tokenizer, save_model, settle
from geodiag.lab.run_files import LabRecipe, made_with, write_recipe
from geodiag.lab.suite import Task, build_suite, characters_of, generator_of, seed_of
from geodiag.lab.training import fit, score_tasks


class StopWhenGood(TrainerCallback):  # type: ignore[misc]
    """Stops the training once the mean held-out score, measured every so many steps, reaches a threshold."""

    def __init__(
        self, model: Model, held_out: dict[str, EncodedItems], *, until: float, every: int, progress: LabProgress
    ) -> None:
        self.model, self.held_out, self.until, self.every = model, held_out, until, every
        self.progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop after this step if the mean score has reached the threshold."""
        del args
        if state.global_step % self.every == 0:
            scores = score_tasks(self.model, self.held_out)
            mean = sum(score.score for score in scores) / len(scores)
            self.progress(f"base: {state.global_step} steps, mean of its tasks {mean:.3f}")
            if mean >= self.until:
                control.should_training_stop = True


def base_recipe(config: LabConfig) -> LabRecipe:
    """Everything that the base's weights depend on: the size's name and settings, not the run's."""
    recipe = config.model_dump(mode="json", include={"size", "model", "base_training", "suite", "tasks", "dtype"})
    if config.base_training is not None and config.base_training.tasks is not None:
        recipe["tasks"] = list(config.base_training.tasks)
    return {**recipe, "tasks": sorted(recipe["tasks"])}


def prepare_base(config: LabConfig, folder: Path, *, progress: LabProgress) -> Path:
    """The base's checkpoint folder: a local one from the configuration, or one trained into `folder` unless it exists.

    Raises:
        SettingsError: `folder` holds a base made with other settings.
    """
    if config.base is not None:
        return config.base
    recipe = base_recipe(config)
    if made_with(folder, recipe):
        return folder
    tasks = build_suite(
        sorted({*config.tasks, *_mixture(config)}),
        seed=config.suite.seed,
        counts=config.suite.counts,
        folder=config.suite.folder,
    )
    progress(f"base {config.size}: training on {len(_mixture(config))} tasks")
    model, tokenizer = _trained_base(config, tasks, progress=progress)
    with whole_folder(folder) as part:
        save_model(model, part, tokenizer=tokenizer, dtype=config.dtype)
        write_recipe(part, recipe)
    return folder


def _mixture(config: LabConfig) -> tuple[str, ...]:
    named = config.base_training.tasks if config.base_training else None
    return tuple(sorted(named or config.tasks))


def _trained_base(config: LabConfig, tasks: tuple[Task, ...], *, progress: LabProgress) -> tuple[Model, Any]:
    assert config.model is not None
    tokenizer = build_tokenizer(characters_of(tasks))
    model = build_model(config.model, tokenizer=tokenizer, seed=seed_of("base", config.size, config.suite.seed))
    model.to(pick_device(config.device))
    if config.base_training is not None:
        mixture = [task for task in tasks if task.name in _mixture(config)]
        _learn_mixture(config, model, mixture, tokenizer, progress=progress)
    settle(model, dtype=config.dtype)
    return model, tokenizer


def _learn_mixture(
    config: LabConfig, model: Model, tasks: list[Task], tokenizer: Any, *, progress: LabProgress
) -> None:
    budget = config.base_training
    assert budget is not None
    encoded = encode_items(tokenizer, [item for task in tasks for item in task.train])
    held_out = {task.name: encode_items(tokenizer, task.test) for task in tasks}
    rng = generator_of("base order", config.size, config.suite.seed)
    callbacks = []
    if budget.until is not None:
        every = budget.check_every
        callbacks = [StopWhenGood(model, held_out, until=budget.until, every=every, progress=progress)]
    fit(model, encoded, training=budget, rng=rng, callbacks=callbacks)
