"""Random runs as plain rows: small enough for loops, awkward enough to matter."""

import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import polars as pl

from geodiag.store import TABLES, write_run

Row = dict[str, Any]


@dataclass
class Run:
    """One run: its rows by table, and what the brute force needs to know about it."""

    name: str
    steps: int
    memory: Any
    lam: float
    tasks: list[str] = field(default_factory=list)
    layers: list[Row] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def active(self, t: int) -> list[str]:
        """The members of A_t; `state` is the previous state."""
        if self.memory == "anchor":
            return (["state"] if t > 1 else []) + [f"task:{self.tasks[t - 1]}"]
        first = 1 if self.memory == "all" else max(1, t - self.memory + 1)
        return [f"task:{self.tasks[i - 1]}" for i in range(first, t + 1)]


def simulate(rng: random.Random, name: str, *, steps: int, memory: Any, lam: float = 1e-3, **options: Any) -> Run:
    """A run with random values.

    Options: `zero`, the chance that an object has no update in a layer; `scored`, the chance that a score is
    there; `overall` and `base`, whether those are scored at all; `gradients`, whether they were measured.
    """
    run = Run(name, steps, memory, lam, [f"t{i}" for i in rng.sample(range(100), steps)])
    families = ["up_proj", "q_proj", "v_proj"]
    run.layers = [{"layer": f"m.{b}.{f}", "block": b, "family": f} for b in (0, 1) for f in families]
    run.layers = run.layers[: options.get("layers", 6)]
    run.rows = {
        "runs": [_runs_row(rng, run)],
        "active": [_active_row(t, o) for t in range(1, steps + 1) for o in run.active(t)],
        "layers": [{**layer, "d_out": 4, "d_in": 4, "dtype": "bfloat16"} for layer in run.layers],
        "updates": list(_updates(rng, run, options.get("zero", 0.1))),
        "pairs": list(_pairs(rng, run, options.get("zero", 0.1))),
        "unions": list(_unions(rng, run)),
        "scores": list(_scores(rng, run, options)),
    }
    if options.get("gradients", True):
        run.rows["gradients"] = list(_gradients(rng, run))
    return run


def write(store, runs: list[Run]) -> None:
    for run in runs:
        write_run(store, run.name, {table: _frame(table, rows) for table, rows in run.rows.items()})


def _frame(table: str, rows: list[Row]) -> pl.DataFrame:
    columns = {name: dtype for name, dtype in TABLES[table].columns.items() if name != "run"}
    return pl.DataFrame([{name: row.get(name) for name in columns} for row in rows], schema=columns)


def _runs_row(rng: random.Random, run: Run) -> Row:
    return {
        "size": rng.choice(["0.6B", "4B"]),
        "method": rng.choice(["EWC", "Seq. SFT"]),
        "seed": rng.choice([None, 3]),
        "n_steps": run.steps,
        "n_layers": len(run.layers),
        "base": "base",
        "config": json.dumps({"lambda": run.lam, "memory": run.memory}),
        "geodiag_version": "0",
        "created": datetime(2026, 1, 1, tzinfo=UTC),
    }


def _active_row(t: int, name: str) -> Row:
    task = name.removeprefix("task:") if name != "state" else None
    return {"step": t, "object": name, "role": "task" if task else "state", "task": task}


def _updates(rng: random.Random, run: Run, zero: float):
    for t in range(1, run.steps + 1):
        for layer in run.layers:
            for name in ("state", f"task:{run.tasks[t - 1]}"):
                gone = rng.random() < zero
                yield {
                    "step": t,
                    "object": name,
                    **layer,
                    "norm": 0.0 if gone else rng.random(),
                    "increment_norm": rng.random() if name == "state" else None,
                    "rank": 0 if gone else 2,
                    "energy_kept": None if gone else rng.random(),
                    "rounding_floor": rng.choice([None, 0.0, 0.3]),
                    "singular_values": [] if gone else [2.0, 1.0],
                }


def _pairs(rng: random.Random, run: Run, zero: float):
    done = set()
    for t in range(1, run.steps + 1):
        active = run.active(t)
        compared = [("active", i, j) for i, j in combinations(active, 2)]
        compared += [("state", "state", j) for j in active]
        for kind, i, j in compared:
            # Two tasks are stored once; the order in which they are named says nothing.
            if kind == "active" and "state" not in (i, j):
                if (i, j) in done:
                    continue
                done.add((i, j))
                i, j = rng.sample([i, j], 2)
            for layer in run.layers:
                yield {
                    "step": t,
                    "kind": kind,
                    "object_i": i,
                    "object_j": j,
                    **layer,
                    **_compare(rng, run, zero),
                }


def _compare(rng: random.Random, run: Run, zero: float) -> Row:
    union, sar_ij, sar_ji = rng.randint(2, 5), rng.random(), rng.random()
    trace_i, trace_j = rng.random() + run.lam * union, rng.random() + run.lam * union
    share = 2 * run.lam * union / (trace_i + trace_j)
    if rng.random() < zero:
        # One object has no update here: its trace is lambda's alone and nothing is defined but the traces.
        return {"trace_i": run.lam * union, "trace_j": trace_j, "union_rank": union, "bures_sq": trace_j}
    bures = rng.random() * (trace_i + trace_j)
    return {
        "sar_ij": sar_ij,
        "sar_ji": sar_ji,
        "sar": (sar_ij + sar_ji) / 2,
        "conflict": bures / (trace_i + trace_j + run.lam),
        "bures_sq": bures,
        "trace_i": trace_i,
        "trace_j": trace_j,
        "union_rank": union,
        "lambda_share": share,
    }


def _unions(rng: random.Random, run: Run):
    for t in range(1, run.steps + 1):
        for layer in run.layers:
            active = 5 + rng.randint(0, 20)
            yield {
                "step": t,
                "layer": layer["layer"],
                "active_rank": active,
                "state_rank": active + rng.randint(0, 4),
            }


def _scores(rng: random.Random, run: Run, options: Row):
    scored = options.get("scored", 1.0)
    for t in range(0 if options.get("base", True) else 1, run.steps + 1):
        # A task that is scored but never trained is there as well.
        for task in [*run.tasks, "untrained", *(["overall"] if options.get("overall", True) else [])]:
            if rng.random() < scored:
                yield {"step": t, "task": task, "score": round(rng.random(), 2)}


def _gradients(rng: random.Random, run: Run):
    for t in range(1, run.steps + 1):
        tasks = [name.removeprefix("task:") for name in run.active(t) if name != "state"]
        for i, j in combinations(tasks, 2):
            for layer in run.layers:
                cos = None if rng.random() < 0.1 else rng.uniform(-0.5, 1)
                reliability = {f"reliability_{k}": rng.choice([None, rng.random()]) for k in "ij"}
                yield {"step": t, "task_i": i, "task_j": j, **layer, "cos": cos, **reliability}
