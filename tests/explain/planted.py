"""Runs with a known cause: the raw rows of plausible steps, one of which is tampered with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from geodiag.store import TABLES, write_run

TASKS = ("modulo", "add", "reverse", "facts", "sort", "shift", "copy", "maximum")
FAMILIES = {"q_proj": 0.10, "k_proj": 0.05, "v_proj": 0.04, "o_proj": 0.08, "gate_proj": 0.25, "up_proj": 0.24}
BLOCKS = 3
ITEMS = 128


@dataclass(frozen=True)
class Plan:
    """One run and what is wrong with one of its steps."""

    name: str
    seed: int
    cause: str = "none"
    """`family`, `not learnt`, `repeat`, `small update`, `large update`, `no change`, `block` or `none`."""
    step: int = 5
    family: str = "up_proj"
    steps: int = 8
    size: str = "tiny"
    method: str = "Seq. SFT"
    memory: Any = "all"
    scores: bool = True
    gradients: bool = False
    items: int | None = ITEMS
    loss: float = 0.2
    """The usual share of an old task's score that a step takes."""
    labels: bool = True
    tasks: tuple[str, ...] = TASKS

    @property
    def old_step(self) -> int:
        """The step that a repeat repeats."""
        return max(1, self.step - 2)


def write(store, plans: list[Plan]) -> None:
    for plan in plans:
        write_run(store, plan.name, tables(plan))


def tables(plan: Plan) -> dict[str, pl.DataFrame]:
    """The raw rows of a run."""
    rng = np.random.default_rng(plan.seed)
    layers = [
        {"layer": f"model.layers.{block}.{family}", "block": block, "family": family}
        for block in range(BLOCKS)
        for family in FAMILIES
    ]
    config = {"lambda": 1e-6, "memory": plan.memory, "updates": "experts"}
    if plan.labels:
        config["labels"] = {task: task.title() for task in plan.tasks}
    run = {"size": plan.size, "method": plan.method, "seed": plan.seed, "n_steps": plan.steps, "n_layers": len(layers)}
    run |= {"base": "base", "config": json.dumps(config), "geodiag_version": "0"}
    rows = {
        "runs": [run | {"created": datetime(2026, 1, 1, tzinfo=UTC)}],
        "active": [row for t in range(1, plan.steps + 1) for row in _active(plan, t)],
        "layers": [{**layer, "d_out": 8, "d_in": 8, "dtype": "float32"} for layer in layers],
        "updates": list(_updates(plan, layers, rng)),
        "pairs": list(_pairs(plan, layers, rng)),
        "unions": [
            {"step": t, "layer": layer["layer"], "active_rank": 8, "state_rank": 8}
            for t in range(1, plan.steps + 1)
            for layer in layers
        ],
    }
    if plan.gradients:
        rows["gradients"] = list(_gradients(plan, layers, rng))
    if plan.scores:
        rows["scores"] = list(_scores(plan, rng))
    return {name: frame(name, found) for name, found in rows.items()}


def frame(table: str, rows: list[dict]) -> pl.DataFrame:
    columns = {name: dtype for name, dtype in TABLES[table].columns.items() if name != "run"}
    data = {name: [row.get(name) for row in rows] for name in columns}
    return pl.DataFrame(data, schema=columns)


def _active(plan, t):
    first = 1 if plan.memory == "all" else t if plan.memory == "anchor" else max(1, t - plan.memory + 1)
    if plan.memory == "anchor" and t > 1:
        yield {"step": t, "object": "state", "role": "state", "task": None}
    for k in range(first, t + 1):
        task = plan.tasks[k - 1]
        yield {"step": t, "object": f"task:{task}", "role": "task", "task": task}


def _updates(plan, layers, rng):
    state = dict.fromkeys((layer["layer"] for layer in layers), 0.0)
    for t in range(1, plan.steps + 1):
        spread = {family: rng.normal(0, 0.08) for family in FAMILIES}
        blocks, whole = rng.normal(0, 0.05, BLOCKS), rng.normal(0, 0.04)
        for layer in layers:
            energy = FAMILIES[layer["family"]] * np.exp(
                spread[layer["family"]] + blocks[layer["block"]] + whole + rng.normal(0, 0.03)
            )
            energy *= _tampered(plan, t, layer)
            name = layer["layer"]
            state[name] += energy
            common = {"step": t, **layer, "rank": 8, "energy_kept": 0.97, "rounding_floor": 1e-6}
            increment = float(np.sqrt(energy))
            yield {**common, "object": "state", "norm": float(np.sqrt(state[name])), "increment_norm": increment}
            own = np.sqrt(FAMILIES[layer["family"]] * np.exp(rng.normal(0, 0.1)))
            yield {**common, "object": f"task:{plan.tasks[t - 1]}", "norm": float(own)}


def _tampered(plan, t, layer) -> float:
    """What the squared norm of the step in a layer is multiplied by."""
    if t != plan.step:
        return 1.0
    if plan.cause == "family" and layer["family"] == plan.family:
        return 2.5**2
    if plan.cause == "block" and layer["block"] == 1:
        return 2.5**2
    return {"small update": 0.2**2, "large update": 2.2**2, "no change": 0.0}.get(plan.cause, 1.0)


def _pairs(plan, layers, rng):
    for i, j in combinations(range(1, plan.steps + 1), 2):
        if plan.memory != "all" and (plan.memory == "anchor" or j - i >= plan.memory):
            continue
        gc, sar = rng.normal(0.5, 0.03), rng.normal(0.65, 0.03)
        if plan.cause == "repeat" and j == plan.step and i == plan.old_step:
            gc, sar = 0.18, 0.88
        objects = {"object_i": f"task:{plan.tasks[i - 1]}", "object_j": f"task:{plan.tasks[j - 1]}"}
        for layer in layers:
            yield {"step": j, "kind": "active", **objects, **layer, **_compared(gc, sar, rng)}
    for t in range(1, plan.steps + 1):
        for active in _active(plan, t):
            gc = 0.3 + 0.04 * t + rng.normal(0, 0.02)
            objects = {"object_i": "state", "object_j": active["object"]}
            for layer in layers:
                if active["object"] == "state":
                    yield {"step": t, "kind": "active", "object_i": "state", **layer,
                           "object_j": f"task:{plan.tasks[t - 1]}", **_compared(gc, 0.7, rng)}  # fmt: skip
                yield {"step": t, "kind": "state", **objects, **layer, **_compared(gc, 0.7, rng)}


def _compared(gc, sar, rng):
    gc, sar = float(np.clip(gc + rng.normal(0, 0.02), 0, 1)), float(np.clip(sar + rng.normal(0, 0.02), 0, 1))
    traces = {"trace_i": 1.0, "trace_j": 1.0, "union_rank": 8, "lambda_share": 1e-5}
    return {"sar": sar, "sar_ij": sar, "sar_ji": sar, "conflict": gc, "bures_sq": 2 * gc, **traces}


def _gradients(plan, layers, rng):
    for t in range(1, plan.steps + 1):
        for i, j in combinations(plan.tasks[:t], 2):
            cos = rng.normal(0.1, 0.1)
            for layer in layers:
                noise = {"reliability_i": rng.uniform(0.6, 0.9), "reliability_j": rng.uniform(0.6, 0.9)}
                yield {"step": t, "task_i": i, "task_j": j, **layer, "cos": float(cos), **noise}


def _scores(plan, rng):
    truth = dict.fromkeys(plan.tasks, 0.15)
    for t in range(plan.steps + 1):
        if t:
            own = plan.tasks[t - 1]
            bad = t == plan.step and plan.cause in ("family", "not learnt", "large update", "block")
            for task in plan.tasks[: t - 1]:
                lost = rng.uniform(0.5, 0.6) if bad else max(0.0, rng.normal(plan.loss, plan.loss / 3))
                truth[task] *= 1 - (0.0 if t == plan.step and plan.cause == "no change" else lost)
            truth[own] = 0.12 if t == plan.step and plan.cause == "not learnt" else rng.uniform(0.9, 0.97)
            if t == plan.step and plan.cause == "repeat":
                truth[plan.tasks[plan.old_step - 1]] = 0.93
        for task, p in truth.items():
            found = rng.binomial(ITEMS, p) / ITEMS
            yield {"step": t, "task": task, "score": round(float(found), 6), "n": plan.items}
