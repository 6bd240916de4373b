"""One lab run: a task sequence under one strategy, with base, experts, states and scores on disk."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from geodiag.common.files import whole_folder
from geodiag.geometry.numerics import pick_device
from geodiag.lab.base import base_recipe, prepare_base
from geodiag.lab.config import LabConfig, LabProgress
from geodiag.lab.data import EncodedItems, TaskSequence, open_sequence
from geodiag.lab.model import Model, resume_model, save_model, settle, start_model
from geodiag.lab.run_files import (
    LabRecipe,
    made_with,
    write_manifest,
    write_probes,
    write_recipe,
    write_record,
    write_scores,
)
from geodiag.lab.strategies import STRATEGIES, Lesson, Strategy
from geodiag.lab.suite import generator_of, seed_of
from geodiag.lab.training import ExactMatch, computing, exact_matches, fit, score_tasks


def expert_recipe(config: LabConfig, task: str) -> LabRecipe:
    """Everything except the base that an expert's weights depend on; the methods of a size and seed share it."""
    keep = {"size", "seed", "model", "base", "base_training", "suite", "training", "lora", "dtype"}
    return {**config.model_dump(mode="json", include=keep), "task": task}


def train_expert(
    config: LabConfig,
    folder: Path,
    *,
    task: str,
    base: Path,
    tokenizer: Any,
    train: EncodedItems,
    held_out: EncodedItems,
) -> float | None:
    """Train a task's expert from the base into `folder`, unless it exists.

    Returns:
        The expert's score on its own held-out items, or None if it existed.
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


STEP_FILE = "step.json"
"""The file of a finished step with its scores and the strategy's record."""
CARRIED_FILE = "carried.safetensors"
"""The tensors that a strategy carries from a step to the next."""


def train_experts(config: LabConfig, *, base: Path, experts: Path, progress: LabProgress) -> None:
    """Train the experts of a size and seed into `experts/<task>`, except those that exist."""
    with computing(config):
        sequence = open_sequence(config, base=base)
        for task in sequence.tasks:
            score = train_expert(
                config,
                experts / task.name,
                task=task.name,
                base=base,
                tokenizer=sequence.tokenizer,
                train=sequence.train[task.name],
                held_out=sequence.held_out[task.name],
            )
            if score is not None:
                progress(f"expert {config.size} seed {config.seed} {task.name}: {score:.3f}")


def train_sequence(config: LabConfig, out: Path, *, base: Path, experts: Path, progress: LabProgress) -> Path:
    """Train one run into `out`, going on after the last finished step.

    Args:
        config: the run.
        out: the run's folder; `run.yaml` is written there after every step.
        base: the checkpoint to start from.
        experts: the folder of the experts of this size and seed, `<task>/` each, which need not exist yet.
        progress: called with one line a step.

    Returns:
        The run's folder.

    Raises:
        SettingsError: `out` holds a run with other settings.
    """
    recipe = {**config.model_dump(mode="json"), "base": base_recipe(config)}
    if not made_with(out, recipe):
        write_recipe(out, recipe)
    with computing(config):
        _Sequence(open_sequence(config, base=base), out, base=base, experts=experts, progress=progress).train()
    return out


def train_run(config: LabConfig, out: Path, *, progress: LabProgress) -> Path:
    """Train a whole run into one folder: `base/`, `experts/<task>/`, `checkpoints/step_NN_<task>/` and files."""
    with computing(config):
        base = prepare_base(config, out / "base", progress=progress)
    train_experts(config, base=base, experts=out / "experts", progress=progress)
    return train_sequence(config, out, base=base, experts=out / "experts", progress=progress)


class _Sequence:
    """The steps of one run, from the first that is not finished."""

    def __init__(self, sequence: TaskSequence, out: Path, *, base: Path, experts: Path, progress: LabProgress) -> None:
        self.sequence, self.config, self.out, self.base = sequence, sequence.config, out, base
        self.experts = {task.name: experts / task.name for task in sequence.tasks}
        self.progress, self.device = progress, pick_device(sequence.config.device)

    def train(self) -> None:
        done = self._steps_done()
        if done < len(self.sequence.tasks) or not (self.out / "run.yaml").exists():
            write_probes(self.out, self.sequence.tasks)
            strategy = STRATEGIES[self.config.method].make(self.config)
            self._restore(strategy, done)
            model = self._model(done)
            for step in range(done, len(self.sequence.tasks) + 1):
                self._step(model, strategy, step)
            self._write_files(len(self.sequence.tasks))
        _delete_carried(self.out)

    def _step(self, model: Model, strategy: Strategy, step: int) -> None:
        """Train (step 0: only score the base), and leave the step's folders, the checkpoint's last."""
        if step > 0 and self._state(step).exists():
            return
        record = self._train(model, strategy, step) if step else {}
        scores = score_tasks(model, self.sequence.held_out)
        with whole_folder(self._notes(step)) as part:
            save_file(strategy.tensors(), part / CARRIED_FILE)
            rows = [asdict(score) for score in scores]
            (part / STEP_FILE).write_text(json.dumps({"scores": rows, "record": record}))
        if step:
            with whole_folder(self._state(step)) as part:
                save_model(model, part, tokenizer=self.sequence.tokenizer, dtype=self.config.dtype)
            self._write_files(step)
            (self._notes(step - 1) / CARRIED_FILE).unlink(missing_ok=True)
        self._report(step, scores)

    def _train(self, model: Model, strategy: Strategy, step: int) -> dict[str, Any]:
        task, seed = self.sequence.tasks[step - 1].name, self.config.seed
        torch.manual_seed(seed_of(self.config.run, step, "state"))
        memory = self.sequence.memory(step, share=strategy.memory_share)
        rng = generator_of("strategy", self.config.run, step)
        strategy.begin(Lesson(model, self.sequence.train[task], memory, self.config, rng))
        order = generator_of("order", seed, task, "state")
        fit(model, self.sequence.train[task], training=self.config.training, rng=order, callbacks=[strategy])
        settle(model, dtype=self.config.dtype)
        return {"task": task, **strategy.end()}

    def _model(self, done: int) -> Model:
        if done == 0:
            return start_model(self.config, base=self.base, device=self.device, role="state")
        return resume_model(self.config, base=self.base, state=self._state(done), device=self.device)

    def _restore(self, strategy: Strategy, done: int) -> None:
        if done and (self._notes(done) / CARRIED_FILE).exists():
            strategy.restore(load_file(self._notes(done) / CARRIED_FILE))

    def _state(self, step: int) -> Path:
        return self.out / "checkpoints" / f"step_{step:02d}_{self.sequence.tasks[step - 1].name}"

    def _notes(self, step: int) -> Path:
        return self.out / ".lab" / f"step_{step:02d}"

    def _steps_done(self) -> int:
        """Steps whose folders are whole; the checkpoint is the last thing a step leaves."""
        done = 0
        while done < len(self.sequence.tasks) and self._state(done + 1).exists():
            done += 1
        return done

    def _write_files(self, last: int) -> None:
        notes = {step: json.loads((self._notes(step) / STEP_FILE).read_text()) for step in range(last + 1)}
        write_scores(self.out, {step: [ExactMatch(**row) for row in note["scores"]] for step, note in notes.items()})
        write_record(self.out, {step: note["record"] for step, note in notes.items() if step})
        states = [(self.sequence.tasks[step - 1].name, self._state(step)) for step in range(1, last + 1)]
        write_manifest(self.out, self.config, base=self.base, states=states, experts=self.experts)

    def _report(self, step: int, scores: tuple[ExactMatch, ...]) -> None:
        by_task = {score.task: score.score for score in scores}
        mean = sum(by_task.values()) / len(by_task)
        if not step:
            return self.progress(f"{self.config.run}: base, mean of all tasks {mean:.3f}")
        task = self.sequence.tasks[step - 1].name
        total = len(self.sequence.tasks)
        self.progress(f"{self.config.run}: step {step}/{total} {task} {by_task[task]:.3f}, all tasks {mean:.3f}")


def _delete_carried(out: Path) -> None:
    """Delete the tensors that the strategy carried from step to step, which a finished run does not need."""
    for path in out.glob(f".lab/*/{CARRIED_FILE}"):
        path.unlink()
