"""Runs whose signals and forgetting are chosen, written as the raw rows that give exactly these.

Every task scores 0.8 at step 1 and 0.8 + f_t at step t, with f_t < 0: 0.8 stays the best earlier score, so forgetting
at step t is f_t for every old task and their mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations

import numpy as np
import polars as pl

from geodiag.store import TABLES, StoreReader, write_run

BEST = 0.8
FAMILIES = ("q_proj", "v_proj", "up_proj")
NORM = {"update_norm": "increment_norm", "state_norm": "norm"}


@dataclass
class Planted:
    """One run: a value for every step of each column that is chosen; the rest is drawn."""

    name: str
    size: str = "4B"
    method: str = "EWC"
    forgetting: np.ndarray = field(default_factory=lambda: np.zeros(6))
    signals: Mapping[str, np.ndarray] = field(default_factory=dict)
    families: tuple[str, ...] = FAMILIES
    gradients: bool = True
    scores: bool = True
    seed: int | None = None
    matrix: list[list[float | None]] | None = None
    """a[t][j] for steps 1.. and tasks 1.., instead of `forgetting`; None is not scored."""

    @property
    def steps(self) -> int:
        return len(self.forgetting)

    @property
    def tasks(self) -> list[str]:
        return [f"task_{t}" for t in range(1, self.steps + 1)]


def plant(store, runs: list[Planted], *, rng: np.random.Generator | int = 0) -> StoreReader:
    """Write the runs and open the store."""
    generator = np.random.default_rng(rng)
    for run in runs:
        write_run(store, run.name, tables(run, generator))
    return StoreReader(store)


def tables(run: Planted, rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    """The raw rows of a run."""
    layers = [{"layer": f"m.0.{f}", "block": 0, "family": f} for f in run.families]
    config = json.dumps({"lambda": 0.0, "memory": "all"})
    row = {"size": run.size, "method": run.method, "seed": run.seed, "n_steps": run.steps, "n_layers": len(layers)}
    row |= {"base": "base", "config": config, "geodiag_version": "0", "created": datetime(2026, 1, 1, tzinfo=UTC)}
    active = [(t, task) for t in range(1, run.steps + 1) for task in run.tasks[:t]]
    rows = {
        "runs": [row],
        "active": [{"step": t, "object": f"task:{task}", "role": "task", "task": task} for t, task in active],
        "layers": [{**layer, "d_out": 4, "d_in": 4, "dtype": "bfloat16"} for layer in layers],
        "updates": [row for layer in layers for row in _updates(run, layer, rng)],
        "pairs": [row for layer in layers for row in _pairs(run, layer, rng)],
        "unions": [
            {"step": t, "layer": layer["layer"], "active_rank": 4, "state_rank": 4}
            for t in range(1, run.steps + 1)
            for layer in layers
        ],
    }
    if run.gradients:
        rows["gradients"] = [row for layer in layers for row in _gradients(run, layer, rng)]
    if run.scores:
        rows["scores"] = list(_scores(run))
    return {name: _frame(name, found) for name, found in rows.items()}


def _frame(table: str, rows: list[dict]) -> pl.DataFrame:
    columns = {name: dtype for name, dtype in TABLES[table].columns.items() if name != "run"}
    return pl.DataFrame([{name: row.get(name) for name in columns} for row in rows], schema=columns)


def _chosen(run: Planted, name: str, t: int, otherwise: float) -> float:
    return float(run.signals[name][t - 1]) if name in run.signals else otherwise


def _updates(run, layer, rng):
    share = 1 / np.sqrt(len(run.families))
    for t in range(1, run.steps + 1):
        norms = {column: _chosen(run, name, t, rng.uniform(1, 2)) * share for name, column in NORM.items()}
        yield {"step": t, "object": "state", **layer, **norms, "rank": 1}
        yield {"step": t, "object": f"task:{run.tasks[t - 1]}", **layer, "norm": rng.random(), "rank": 1}


def _pairs(run, layer, rng):
    objects = [f"task:{task}" for task in run.tasks]
    for (_, i), (t, j) in combinations(enumerate(objects, start=1), 2):
        yield {
            "step": t,
            "kind": "active",
            "object_i": i,
            "object_j": j,
            **layer,
            **_compared(rng.random(), rng.random()),
        }
    for t in range(1, run.steps + 1):
        conflict, sar = (_chosen(run, name, t, rng.random()) for name in ("state_conflict", "state_sar"))
        for j in objects[:t]:
            row = {"step": t, "kind": "state", "object_i": "state", "object_j": j, **layer}
            yield row | _compared(conflict, sar)


def _compared(conflict: float, sar: float) -> dict:
    same = {"sar": sar, "sar_ij": sar, "sar_ji": sar, "conflict": conflict, "bures_sq": 2 * conflict}
    return {**same, "trace_i": 1.0, "trace_j": 1.0, "union_rank": 4, "lambda_share": 0.0}


def _gradients(run, layer, rng):
    for t in range(1, run.steps + 1):
        for i, j in combinations(run.tasks[:t], 2):
            cos = _chosen(run, "mean_grad_cos", t, rng.uniform(-0.5, 1))
            yield {"step": t, "task_i": i, "task_j": j, **layer, "cos": cos}


def _scores(run):
    if run.matrix is not None:
        for t, row in enumerate(run.matrix, start=1):
            for task, score in zip(run.tasks, row, strict=True):
                if score is not None:
                    yield {"step": t, "task": task, "score": score}
        return
    for t, lost in enumerate(run.forgetting, start=1):
        for task in run.tasks:
            yield {"step": t, "task": task, "score": BEST if t == 1 else BEST + lost}


def noise_runs(
    rng: np.random.Generator | int = 0, *, runs: int = 8, steps: int = 6, loss: float = 0.6, **options
) -> list[Planted]:
    """Runs in which nothing explains anything, over two sizes and four methods."""
    generator = np.random.default_rng(rng)
    methods = ("Seq. SFT", "EWC", "FOREVER", "AIMMerging")
    return [
        Planted(
            f"r{k:02d}",
            size=("0.6B", "4B")[k // 4 % 2],
            method=methods[k % 4],
            forgetting=-np.round(generator.uniform(0.01, loss, steps), 3),
            **options,
        )
        for k in range(runs)
    ]
