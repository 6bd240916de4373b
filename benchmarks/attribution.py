"""Time that the trapezoid of old tasks' loss changes adds to their gradients alone, and the cost of the whole path."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers.utils import logging

from benchmarks.gradients import layers_of, random_probes, tiny_model
from geodiag.checkpoints import Checkpoint, Layer, open_checkpoint
from geodiag.extraction.measurements.attribution.step import StepPath
from geodiag.extraction.measurements.gradients import compare
from geodiag.models.batches import EncodedProbe
from geodiag.models.runner import ModelRunner, exact_arithmetic
from geodiag.models.states import model_state

REPEATS = 3
MOST_ADDED = 0.10
"""Share of the gradients' time that the trapezoid may add."""


def main() -> None:
    """Prints the seconds of gradients alone, with both products of a state, and of the path with 3 and 9 points."""
    logging.disable_progress_bar()
    model, probes = tiny_model(), random_probes()
    with tempfile.TemporaryDirectory() as folder:
        states = [save_state(Path(folder) / str(n), n) for n in range(3)]
        layers = layers_of(model)
        alone = best(partial(gradients, model, layers, probes))
        added = best(partial(gradients, model, layers, probes, states))
        print(f"gradients of {len(probes)} tasks alone {alone:.2f} s, with the products of two steps {added:.2f} s:")
        print(f"{(added / alone - 1):+.1%}, at most {MOST_ADDED:.0%} were promised")
        for points in (3, 9):
            seconds = best(partial(path, states, probes, points))
            print(f"allocation of {len(probes)} tasks over one step with {points} points: {seconds:.2f} s")


def gradients(
    model: torch.nn.Module,
    layers: Sequence[Layer],
    probes: Sequence[Sequence[EncodedProbe]],
    states: Sequence[Checkpoint] = (),
) -> None:
    """The comparison of the tasks at one state; with the products of the steps between given states, read from disk."""

    def changes(layer: Layer) -> list[Tensor]:
        weights = [state.read_layer(layer, check=False) for state in states]
        return [after - before for before, after in itertools.pairwise(weights)]

    list(compare.compare_tasks(model, [layers], probes, batch_tokens=512, changes=changes))


def path(states: Sequence[Checkpoint], probes: Sequence[Sequence[EncodedProbe]], points: int) -> None:
    """The allocation of every task over one step, by example and over all groups."""
    before, after = (model_state(state, base=states[0]) for state in states[:2])
    runner = ModelRunner.load(before, base=states[0].path, device=torch.device("cpu"))
    step = StepPath(runner, after, memory=2**34)
    with exact_arithmetic():
        for n, examples in enumerate(probes):
            step.allocate(examples, batch_tokens=512, bases=None, names=("run", "1", str(n)), levels=(points,))


def save_state(folder: Path, seed: int) -> Checkpoint:
    """The model, a random step further for every seed."""
    model = tiny_model()
    g = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.add_(0.001 * seed * torch.randn(parameter.shape, generator=g))
    model.save_pretrained(folder)
    return open_checkpoint(folder)


def best(run: Callable[[], None]) -> float:
    """The least seconds of some runs."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
