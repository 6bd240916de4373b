"""Small tables that are valid, and in which one number tells one writing of a run from another."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from geodiag.store import TABLES, StoreReader

LAYER = {"layer": "model.layers.0.self_attn.q_proj", "block": 0, "family": "q_proj"}


def frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a frame of the table's types; columns not given are null."""
    columns = {name: dtype for name, dtype in TABLES[table].columns.items() if name != "run"}
    return pl.DataFrame([{name: row.get(name) for name in columns} for row in rows], schema=columns)


def runs_row(tag: float = 1.0, **changes: Any) -> pl.DataFrame:
    row = {
        "size": "4B",
        "method": "EWC",
        "n_steps": 1,
        "n_layers": 1,
        "base": "base",
        "config": f'{{"lambda": 1e-6, "tag": {tag}}}',
        "geodiag_version": "0",
        "created": datetime(2026, 1, 2, tzinfo=UTC),
    }
    return frame("runs", [{**row, **changes}])


def tables(tag: float = 1.0) -> dict[str, pl.DataFrame]:
    """Every table but `gradients`; `tag` stands in each that has a measure."""
    update = {"step": 1, **LAYER, "norm": tag, "rank": 1, "singular_values": [tag, tag / 2]}
    pair = {"step": 1, "kind": "state", "object_i": "state", "object_j": "task:a", **LAYER, "bures_sq": tag}
    return {
        "scores": frame("scores", [{"step": 1, "task": "a", "score": tag}]),
        "runs": runs_row(tag),
        "active": frame("active", [{"step": 1, "object": "task:a", "role": "task", "task": "a"}]),
        "layers": frame("layers", [{**LAYER, "d_out": 2, "d_in": 3, "dtype": "bfloat16"}]),
        "updates": frame("updates", [{**update, "object": name} for name in ("state", "task:a")]),
        "pairs": frame("pairs", [pair]),
        "unions": frame("unions", [{"step": 1, "layer": LAYER["layer"], "active_rank": 1, "state_rank": 2}]),
    }


def gradients(tag: float = 1.0) -> pl.DataFrame:
    return frame("gradients", [{"step": 1, **LAYER, "task_i": "a", "task_j": "b", "dot": tag}])


MEASURES = {"runs": "config", "updates": "norm", "pairs": "bures_sq", "scores": "score", "gradients": "dot"}


def seen(store: Path, run: str) -> set[float] | None:
    """The tags a reader sees of a run, over all its tables; None where it sees no such run.

    A run that is whole shows one tag. A table that is lost shows as the tag -1.
    """
    reader = StoreReader(store)
    if run not in reader.run_ids():
        return None
    view = reader.only([run])
    tags: set[float] = {view.config(run)["tag"]}
    for table in ("updates", "pairs", "scores"):
        tags.update(view.scan(table).select(MEASURES[table]).collect().to_series().to_list() or [-1.0])
    counts = {table: view.scan(table).collect().height for table in ("active", "layers", "unions")}
    return tags if set(counts.values()) == {1} else {-1.0}
