"""Losses of states and tasks as rows of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from geodiag.errors import GeodiagError, SettingsError
from geodiag.extraction.measurements.losses.kept import KeptState, KeptTask, Waiting
from geodiag.extraction.measurements.losses.plan import FLOAT32_EXAMPLES, LossPart, LossPlan
from geodiag.extraction.measurements.measurement import Row, Rows
from geodiag.models.divergence import Divergence, Head, divergences, head_agrees, head_of
from geodiag.models.probes import TaskProbes
from geodiag.models.runner import ModelRunner, Precision, exact_arithmetic, model_bytes
from geodiag.models.scores import Batch, ExampleScore, score_examples


class LossRun(LossPlan):
    """The losses of a run, planned and ready to be computed."""

    def rows(
        self,
        parts: Sequence[str],
        *,
        say: Callable[[str], None],  # noqa: ARG002  (there is nothing to say)
    ) -> Iterator[tuple[str, Rows]]:
        """Runs the model at every state of the parts and yields each part with its rows, state after state.

        What a state is compared with is run again where it is not at hand.

        Raises:
            CheckpointError: a state cannot be loaded, or a loss is not finite.
            SettingsError: the device's memory does not hold the model and a batch.
        """
        if not parts:
            return
        states = _States(self)
        try:
            with exact_arithmetic():
                yield from _part_rows(states, [self.by_name[name] for name in parts])
        except GeodiagError as error:
            error.run = self.manifest.run
            raise
        except torch.OutOfMemoryError as error:
            message = "the device's memory does not hold the model and a batch"
            fix = "lower --loss-batch-tokens, or give --loss-precision bfloat16"
            raise SettingsError(message, run=self.manifest.run, where="losses", fix=fix) from error
        finally:
            states.close()


def _part_rows(states: _States, parts: Sequence[LossPart]) -> Iterator[tuple[str, Rows]]:
    floors = states.precision_floors()
    for step, together in groupby(parts, key=lambda part: part.step):
        tasks = [part.task for part in together]
        for task in tasks:
            yield LossPart(step, task).name, states.rows(step, task, tasks, floors.get(task, 0.0))


class _States:
    """The model at one state after the other, and what earlier states left."""

    def __init__(self, plan: LossPlan) -> None:
        self._plan = plan
        self._waiting = Waiting(needed=plan.kept_bytes, memory=plan.run.memory)
        self._kept: dict[int, KeptState] = {}
        self._runner: ModelRunner | None = None
        self._names = 0

    def rows(self, step: int, task: str, tasks: Sequence[str], floor: float) -> Rows:
        """Rows of one part; `tasks` are those wanted of this state, so that each state is read once."""
        compared = {0, max(0, step - 1)} if step else set()
        for earlier in sorted(compared):
            self._run(earlier, tasks)
        self._run(step, tasks)
        for old in [n for n in self._kept if n not in (*compared, 0, step)]:
            self._kept.pop(old).drop()
        probes, kept = self._plan.probes.tasks[task], self._kept[step].tasks[task]
        row = _loss_row(step, probes, kept.scores) | {"precision_floor": floor}
        notes: list[str] = []
        if step:
            self._compare(row, step, task, notes)
        if not probes.judgeable:
            notes.append("few probes: losses only")
        row["note"] = "; ".join(notes) or None
        return {"losses": [row], "examples": list(_example_rows(step, probes, kept.scores))}

    def _compare(self, row: dict[str, Any], step: int, task: str, notes: list[str]) -> None:
        """Adds the differences from the state before and the base."""
        tokenizers = self._plan.probes.tokenizers
        now, before = self._kept[step], self._kept[step - 1]
        if tokenizers[step] == tokenizers[step - 1]:
            differences = [
                new.loss - old.loss for new, old in zip(now.tasks[task].scores, before.tasks[task].scores, strict=True)
            ]
            row["delta_loss"], row["delta_loss_se"] = fmean(differences), _standard_error(differences)
        for earlier, name in ((step - 1, "prev"), (0, "base")):
            if tokenizers[step] != tokenizers[earlier]:
                notes.append(f"other tokenizer than {'the base' if earlier == 0 else f'state {earlier}'}")
            elif not (now.plain_head and self._kept[earlier].plain_head):
                notes.append("the model changes its logits in a way of its own: no divergence")
            else:
                row.update(_divergence_columns(self._divergence(earlier, step, task), name))
        notes[:] = list(dict.fromkeys(notes))

    def _divergence(self, earlier: int, step: int, task: str) -> list[Divergence]:
        device = self._plan.run.device
        (old_head, old), (new_head, new) = (self._on_device(n, task, device) for n in (earlier, step))
        return divergences(old, old_head, new, new_head, self._kept[step].tasks[task].hidden.counts)

    def _on_device(self, step: int, task: str, device: torch.device) -> tuple[Head, Tensor]:
        kept = self._kept[step]
        return kept.head.to(device), kept.tasks[task].hidden.read(device)

    def _run(self, step: int, tasks: Sequence[str]) -> None:
        """Runs those tasks at a state that were not."""
        missing = [task for task in tasks if step not in self._kept or task not in self._kept[step].tasks]
        if not missing:
            return
        runner = self._at(step)
        head = head_of(runner)
        kept = self._kept.setdefault(step, KeptState(head.to(torch.device("cpu")), True))
        for task in missing:
            kept.tasks[task] = self._run_task(runner, head, kept, step, task)

    def _run_task(self, runner: ModelRunner, head: Head, kept: KeptState, step: int, task: str) -> KeptTask:
        examples = self._plan.probes.tasks[task].examples
        self._names += 1
        hidden = self._waiting.hidden(examples, f"state-{step:04d}-{self._names}")

        def keep(batch: Batch, states: Tensor, logits: Tensor) -> None:
            hidden.keep(batch, states)
            kept.plain_head = kept.plain_head and head_agrees(head, states[:8], logits[:8])

        scores = score_examples(runner.model, examples, batch_tokens=self._plan.options.batch_tokens, keep=keep)
        hidden.close()
        return KeptTask(scores, hidden)

    def _at(self, step: int) -> ModelRunner:
        plan = self._plan
        state = plan.state(step)
        if self._runner is None:
            self._runner = _load(plan, state, plan.run.device, plan.precision)
        elif self._runner.state.path != state.path:
            self._runner.move_to(state)
        return self._runner

    def precision_floors(self) -> dict[str, float]:
        """By task, what bfloat16 cannot tell from no change; empty in float32.

        Twice the larger of |mean| and standard deviation of the error of paired differences, last state less first,
        on 8 examples a task that are run in float32 too.
        """
        plan = self._plan
        if plan.precision == "float32":
            return {}
        narrow = self._differences(plan.precision, plan.run.device)
        fits = 2 * model_bytes(plan.base, "float32") <= plan.run.memory
        wide = self._differences("float32", plan.run.device if fits else torch.device("cpu"))
        return {task: _floor(narrow[task], wide[task]) for task in plan.probes.tasks}

    def _differences(self, precision: Precision, device: torch.device) -> dict[str, list[float]]:
        plan, scores = self._plan, list[dict[str, list[ExampleScore]]]()
        runner = None
        for step in (0, plan.n_states - 1):
            state = plan.state(step)
            if runner is None:
                runner = _load(plan, state, device, precision)
            else:
                runner.move_to(state)
            scores.append(
                {
                    task: score_examples(
                        runner.model, probes.examples[:FLOAT32_EXAMPLES], batch_tokens=plan.options.batch_tokens
                    )
                    for task, probes in plan.probes.tasks.items()
                }
            )
        first, last = scores
        return {task: [new.loss - old.loss for old, new in zip(first[task], last[task], strict=True)] for task in first}

    def close(self) -> None:
        """Lets go of everything that waits."""
        self._kept.clear()
        self._waiting.close()
        self._runner = None


def _load(plan: LossPlan, state: Any, device: torch.device, precision: Precision) -> ModelRunner:
    return ModelRunner.load(state, base=plan.manifest.base, device=device, precision=precision)


def _floor(narrow: Sequence[float], wide: Sequence[float]) -> float:
    errors = [a - b for a, b in zip(narrow, wide, strict=True)]
    return 2 * max(abs(fmean(errors)), stdev(errors) if len(errors) > 1 else 0.0)


def _loss_row(step: int, probes: TaskProbes, scores: Sequence[ExampleScore]) -> dict[str, Any]:
    losses = [score.loss for score in scores]
    ends = [score.loss_end for score in scores if score.loss_end is not None]
    return {
        "step": step,
        "task": probes.task,
        "loss": fmean(losses),
        "loss_se": _standard_error(losses),
        "loss_end": fmean(ends) if ends else None,
        "p_target": fmean(score.p_target for score in scores),
        "exact": fmean(score.exact for score in scores),
        "token_accuracy": fmean(score.token_accuracy for score in scores),
        "entropy": fmean(score.entropy for score in scores),
        **dict.fromkeys(("delta_loss", "delta_loss_se", "kl_prev_fwd", "kl_prev_rev", "kl_base_fwd", "kl_base_rev")),
        **dict.fromkeys(("bc_prev", "bc_base", "path_points", "residual", "share_change", "converged")),
        "n_examples": len(scores),
        "n_tokens": sum(score.n_tokens for score in scores),
        "n_cut": probes.n_cut,
    }


def _divergence_columns(by_example: Sequence[Divergence], name: str) -> dict[str, float]:
    return {
        f"kl_{name}_fwd": fmean(one.forward for one in by_example),
        f"kl_{name}_rev": fmean(one.backward for one in by_example),
        f"bc_{name}": fmean(one.overlap for one in by_example),
    }


def _example_rows(step: int, probes: TaskProbes, scores: Sequence[ExampleScore]) -> Iterator[Row]:
    for n, (example, score) in enumerate(zip(probes.examples, scores, strict=True)):
        yield {
            "step": step,
            "task": probes.task,
            "example": n,
            "probe_hash": example.digest[:16],
            "half": example.half,
            "loss": score.loss,
            "p_target": score.p_target,
            "exact": score.exact,
        }


def _standard_error(values: Sequence[float]) -> float | None:
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
