"""Training on one task for a budget of steps, reproducibly, and scoring by exact match."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from tempfile import TemporaryDirectory
from typing import Any

import torch
from numpy.random import Generator
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from geodiag.lab.config import LabConfig, Training
from geodiag.lab.data import IGNORED, EncodedItems, TokenBatch, epochs
from geodiag.lab.model import Model
from geodiag.lab.strategies.strategy import Strategy


@contextmanager
def computing(config: LabConfig) -> Iterator[None]:
    """The run's number of threads, and no garbage collection over what was imported.

    The Trainer collects garbage at each start; with everything imported so far set aside, that is nothing.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        torch.set_num_threads(before)


FORWARD_TOKENS = 8192
"""Tokens a forward pass at most, so that large vocabularies fit in memory."""


@dataclass(frozen=True)
class ExactMatch:
    """The share of held-out items that greedy decoding answers exactly."""

    task: str
    """The task's name."""
    score: float
    """Right answers over items, in [0, 1]."""
    n: int
    """Items scored."""

    @property
    def stderr(self) -> float:
        """The binomial standard error sqrt(p (1 - p) / n)."""
        return math.sqrt(self.score * (1 - self.score) / self.n)


@torch.no_grad()
def exact_matches(model: Any, encoded: EncodedItems) -> torch.Tensor:
    """Whether greedy decoding answers each item exactly; (items,) bool, on the CPU."""
    model.eval()
    rows = max(1, FORWARD_TOKENS // encoded.ids.shape[1])
    matches = []
    for start in range(0, len(encoded), rows):
        batch = encoded.batch(slice(start, start + rows))
        logits = model(input_ids=batch["input_ids"].to(model.device)).logits
        labels = batch["labels"][:, 1:].to(model.device)
        matches.append(((logits[:, :-1].argmax(-1) == labels) | (labels == IGNORED)).all(1).cpu())
    return torch.cat(matches)


def score_tasks(model: Any, held_out: dict[str, EncodedItems]) -> tuple[ExactMatch, ...]:
    """The score of every task, seen or not."""
    return tuple(
        ExactMatch(task, float(exact_matches(model, encoded).float().mean()), len(encoded))
        for task, encoded in held_out.items()
    )


_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


class TaskTrainer(Trainer):  # type: ignore[misc]
    """A Trainer over given batches that lets a strategy add to each gradient and act after each step."""

    def __init__(self, model: Model, batches: list[TokenBatch], *, args: Any, callbacks: list[Any]) -> None:
        self.strategies = [callback for callback in callbacks if isinstance(callback, Strategy)]
        self.batches = batches
        super().__init__(model, args, callbacks=callbacks)
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> Any:
        """The batches as they are, in their order."""
        return torch.utils.data.DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]

    def training_step(self, *inputs: Any, **options: Any) -> torch.Tensor:
        """The task's loss and gradient, then what the strategy adds to the gradient."""
        loss: torch.Tensor = super().training_step(*inputs, **options)
        for strategy in self.strategies:
            strategy.add_gradient(step=self.state.global_step)
        return loss

    def floating_point_ops(self, inputs: Any) -> int:  # noqa: ARG002 - the Trainer's signature
        """Not counted: it would cost a walk over the model at every step."""
        return 0

    def log(self, *values: Any, **options: Any) -> None:
        """Say nothing; a run reports its steps itself."""


def fit(
    model: Model,
    encoded: EncodedItems,
    *,
    training: Training,
    rng: Generator,
    callbacks: Sequence[Any] = (),
) -> None:
    """Train a model in place on one task's items.

    Args:
        model: the model to train; its trainable parameters move.
        encoded: the task's training items.
        training: the budget.
        rng: draws the order of the items.
        callbacks: a strategy, or other Trainer callbacks; none is plain cross-entropy on the target tokens.
    """
    batches = list(islice(epochs(encoded, batch=training.batch, rng=rng), training.steps))
    with TemporaryDirectory() as scratch:
        args = _arguments(training, scratch=scratch, device=model.device.type)
        TaskTrainer(model, batches, args=args, callbacks=list(callbacks)).train()
    model.zero_grad(set_to_none=True)


def _arguments(training: Training, *, scratch: str, device: str) -> Any:
    return TrainingArguments(
        output_dir=scratch,
        max_steps=training.steps,
        per_device_train_batch_size=training.batch,
        learning_rate=training.lr,
        lr_scheduler_type=_SCHEDULES[training.schedule],
        warmup_steps=round(training.warmup * training.steps),
        adam_beta1=training.betas[0],
        adam_beta2=training.betas[1],
        weight_decay=training.weight_decay,
        max_grad_norm=training.clip,
        optim="adamw_torch_fused",
        use_cpu=device == "cpu",
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_nan_inf_filter=False,
    )
