"""Experts: what each task makes of the base alone, with the same budget as a step of the sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geodiag.lab.config import LabConfig
from geodiag.lab.data import Encoded
from geodiag.lab.folders import Recipe, made_with, whole_folder, write_recipe
from geodiag.lab.model import pick_device, save_model, start_model
from geodiag.lab.score import exact_matches
from geodiag.lab.seeds import generator_of
from geodiag.lab.train import fit


def expert_recipe(config: LabConfig, task: str) -> Recipe:
    """Everything that an expert's weights depend on beside the base: shared by the methods of a size and seed."""
    keep = {"size", "seed", "model", "base", "base_training", "suite", "training", "lora", "dtype"}
    return {**config.model_dump(mode="json", include=keep), "task": task}


def train_expert(
    config: LabConfig,
    folder: Path,
    *,
    task: str,
    base: Path,
    tokenizer: Any,
    train: Encoded,
    held_out: Encoded,
) -> float | None:
    """Train a task's expert from the base into `folder`, unless it is there.

    Returns:
        The expert's score on its own held-out items, or None if it was there.
    """
    recipe = expert_recipe(config, task)
    if made_with(folder, recipe):
        return None
    model = start_model(config, base=base, device=pick_device(config.device), role=f"expert {task}")
    fit(model, train, training=config.training, rng=generator_of("order", config.seed, task, "expert"))
    with whole_folder(folder) as part:
        save_model(model, part, tokenizer=tokenizer, dtype=config.dtype)
        write_recipe(part, recipe)
    return float(exact_matches(model, held_out).float().mean())
