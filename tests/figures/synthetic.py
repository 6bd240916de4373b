"""Stores of made-up runs whose numbers look like those of real ones. No number here was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from geodiag.common.schema import FAMILIES
from geodiag.store import TABLES, StoreReader, write_run

MMLU_PRO = (
    *("biology", "business", "chemistry", "computer_science", "economics", "engineering", "health", "history"),
    *("law", "math", "other", "philosophy", "physics", "psychology"),
)
LAMBDA = 1e-6


@dataclass(frozen=True)
class Shape:
    """What a made-up store holds."""

    sizes: Sequence[str] = ("0.6B", "4B")
    methods: Sequence[str] = ("Seq. SFT", "EWC")
    tasks: Sequence[str] = MMLU_PRO[:5]
    blocks: int = 2
    gradients: bool = True
    scores: bool = True
    missing: float = 0.0
    """Share of conflicts, cosines and scores that are undefined."""


def write_store(folder: Path, shape: Shape | None = None, *, seed: int = 0) -> StoreReader:
    """A store with one run for every size and method."""
    shape, rng = shape or Shape(), np.random.default_rng(seed)
    for k, size in enumerate(shape.sizes):
        for method in shape.methods:
            name = f"{size}-{method}".replace(" ", "").replace("..", ".").lower()
            write_run(folder, name, run_tables(shape, size=size, method=method, scale=1.0 + k, rng=rng))
    return StoreReader(folder)


def run_tables(
    shape: Shape, *, size: str, method: str, scale: float, rng: np.random.Generator
) -> dict[str, pl.DataFrame]:
    made = {
        "runs": _runs(shape, size, method),
        "active": _active(shape),
        "layers": _layers(shape).with_columns(d_out=pl.lit(64), d_in=pl.lit(64), dtype=pl.lit("bfloat16")),
        "updates": _updates(shape, scale, rng),
        "pairs": _pairs(shape, rng),
        "unions": _unions(shape),
    }
    if shape.gradients:
        made["gradients"] = _gradients(shape, rng)
    if shape.scores:
        made["scores"] = _scores(shape, rng)
    return {name: _typed(name, frame) for name, frame in made.items()}


def _typed(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    columns = {name: dtype for name, dtype in TABLES[table].columns.items() if name != "run"}
    given = [pl.col(n).cast(d) if n in frame.columns else pl.lit(None, dtype=d).alias(n) for n, d in columns.items()]
    return frame.select(given)


def _runs(shape: Shape, size: str, method: str) -> pl.DataFrame:
    row: dict[str, Any] = {
        "size": size,
        "method": method,
        "n_steps": len(shape.tasks),
        "n_layers": shape.blocks * len(FAMILIES),
        "base": "base",
        "config": json.dumps({"lambda": LAMBDA}),
        "geodiag_version": "0",
        "created": datetime(2026, 1, 2, tzinfo=UTC),
    }
    return pl.DataFrame([row])


def _active(shape: Shape) -> pl.DataFrame:
    rows = [(t, task) for t in range(1, len(shape.tasks) + 1) for task in shape.tasks[:t]]
    frame = pl.DataFrame(rows, schema=["step", "task"], orient="row")
    return frame.with_columns(object="task:" + pl.col("task"), role=pl.lit("task"))


def _layers(shape: Shape) -> pl.DataFrame:
    rows = [(f"model.layers.{b}.{f}", b, f, k) for b in range(shape.blocks) for k, f in enumerate(FAMILIES)]
    return pl.DataFrame(rows, schema=["layer", "block", "family", "place"], orient="row")


def _updates(shape: Shape, scale: float, rng: np.random.Generator) -> pl.DataFrame:
    steps = pl.DataFrame({"step": range(1, len(shape.tasks) + 1), "task": list(shape.tasks)})
    tasks = steps.select("step", object="task:" + pl.col("task"))
    states = steps.select("step", object=pl.lit("state"))
    frame = pl.concat([states, tasks]).join(_layers(shape), how="cross")
    noise = rng.gamma(30, 1 / 30, frame.height)
    state = pl.col("object") == "state"
    return frame.with_columns(
        norm=pl.when(state).then(scale * pl.col("step").sqrt()).otherwise(scale) * pl.Series(noise),
        increment_norm=pl.when(state).then(scale * pl.Series(noise[::-1])),
        rank=pl.lit(32),
        energy_kept=pl.Series(rng.uniform(0.9, 0.96, frame.height)),
    )


def _pairs(shape: Shape, rng: np.random.Generator) -> pl.DataFrame:
    tasks = shape.tasks
    active = [(j + 1, "active", f"task:{tasks[i]}", f"task:{tasks[j]}") for j in range(len(tasks)) for i in range(j)]
    state = [(t + 1, "state", "state", f"task:{tasks[i]}") for t in range(len(tasks)) for i in range(t + 1)]
    frame = pl.DataFrame([*active, *state], schema=["step", "kind", "object_i", "object_j"], orient="row")
    frame = frame.join(_layers(shape), how="cross")
    place, step = frame["place"].to_numpy(), frame["step"].to_numpy()
    centre = np.where(frame["kind"].to_numpy() == "state", 0.45 - 0.012 * step, 0.5) + 0.03 * (place - 3)
    conflict = np.clip(rng.normal(centre, 0.12), 0.01, 0.99)
    sar = np.clip(rng.normal(0.75 - centre, 0.08), 0.01, 0.99)
    return frame.with_columns(
        **{name: _some(sar, shape, rng) for name in ("sar", "sar_ij", "sar_ji")},
        conflict=_some(conflict, shape, rng),
        bures_sq=pl.Series(conflict * (2.0 + LAMBDA)),
        trace_i=pl.lit(1.0),
        trace_j=pl.lit(1.0),
        union_rank=pl.lit(48),
        lambda_share=pl.lit(1e-4),
    )


def _unions(shape: Shape) -> pl.DataFrame:
    steps = pl.DataFrame({"step": range(1, len(shape.tasks) + 1)}).join(_layers(shape), how="cross")
    return steps.with_columns(active_rank=32 * pl.col("step"), state_rank=32 * pl.col("step") + 32)


def _gradients(shape: Shape, rng: np.random.Generator) -> pl.DataFrame:
    tasks = shape.tasks
    rows = [(t + 1, tasks[i], tasks[j]) for t in range(len(tasks)) for j in range(t + 1) for i in range(j)]
    schema = {"step": pl.Int64, "task_i": pl.String, "task_j": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row").join(_layers(shape), how="cross")
    centre = 0.6 - 0.06 * (frame["place"].to_numpy() < 2)
    return frame.with_columns(cos=_some(np.clip(rng.normal(centre, 0.28), -1, 1), shape, rng))


def _scores(shape: Shape, rng: np.random.Generator) -> pl.DataFrame:
    steps, n = len(shape.tasks), len(shape.tasks)
    level = np.cumsum(rng.normal(0.004, 0.02, (steps + 1, n)), axis=0) + rng.uniform(0.25, 0.6, n)
    trained = np.arange(1, n + 1)[None, :] <= np.arange(steps + 1)[:, None]
    grid = np.clip(level + 0.06 * trained, 0.02, 0.95)
    keep = rng.random(grid.shape) >= shape.missing
    rows = [(t, task, grid[t, k]) for t in range(steps + 1) for k, task in enumerate(shape.tasks) if keep[t, k]]
    rows += [(t, "overall", float(grid[t].mean())) for t in range(steps + 1)]
    return pl.DataFrame(rows, schema=["step", "task", "score"], orient="row")


def _some(values: np.ndarray, shape: Shape, rng: np.random.Generator) -> pl.Series:
    """Values of which a share is null."""
    gone = rng.random(len(values)) < shape.missing
    return pl.Series([None if lost else float(v) for v, lost in zip(values, gone, strict=True)], dtype=pl.Float64)
