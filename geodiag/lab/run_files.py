"""Files of a lab run: run.yaml, scores.csv, probes.jsonl, strategy.jsonl, and the recipe of a trained folder."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from geodiag.common.files import write_text
from geodiag.errors import SettingsError
from geodiag.lab.config import LabConfig
from geodiag.lab.strategies import STRATEGIES
from geodiag.lab.suite import Task
from geodiag.lab.training import ExactMatch

LAB_RECIPE = "recipe.json"
"""The file with the settings of a trained folder, which another configuration must not take for its own."""

LabRecipe = Mapping[str, Any]


def write_recipe(folder: Path, recipe: LabRecipe) -> None:
    """Write the settings that a folder depends on into it."""
    write_text(folder / LAB_RECIPE, json.dumps(recipe, indent=1, sort_keys=True, default=str) + "\n")


def made_with(folder: Path, recipe: LabRecipe) -> bool:
    """Whether the folder is there and was made with this recipe.

    Raises:
        SettingsError: it was made with another one.
    """
    path = folder / LAB_RECIPE
    if not path.is_file():
        return False
    stored, wanted = json.loads(path.read_text()), json.loads(json.dumps(recipe, default=str))
    if stored == wanted:
        return True
    other = sorted(k for k in stored.keys() | wanted.keys() if stored.get(k) != wanted.get(k))
    raise SettingsError(
        f"was made with other settings ({', '.join(other)})", where=folder, fix="give another --out, or delete it"
    )


SCORES, PROBES, RECORD, MANIFEST = "scores.csv", "probes.jsonl", "strategy.jsonl", "run.yaml"


def write_manifest(
    run: Path, config: LabConfig, *, base: Path, states: Sequence[tuple[str, Path]], experts: Mapping[str, Path]
) -> None:
    """Write `run.yaml` for the steps done so far, with paths relative to it."""
    steps = [
        {"task": task, "state": os.path.relpath(state, run), "expert": os.path.relpath(experts[task], run)}
        for task, state in states
    ]
    manifest: dict[str, Any] = {
        "run": config.run,
        "size": config.size,
        "method": STRATEGIES[config.method].label,
        "seed": config.seed,
        "base": os.path.relpath(base, run),
        "updates": "experts",
        "memory": "all",
        "scores": SCORES,
        "score_metric": "exact_match",
        "probes": PROBES,
        "steps": steps,
    }
    write_text(run / MANIFEST, yaml.safe_dump(manifest, sort_keys=False, width=120))


def write_scores(run: Path, scores: Mapping[int, Sequence[ExactMatch]]) -> None:
    """Write `scores.csv`: one row a step and task, step 0 the base."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "task", "score", "stderr", "n"])
    for step, row in sorted(scores.items()):
        writer.writerows([step, s.task, f"{s.score:.6f}", f"{s.stderr:.6f}", s.n] for s in row)
    write_text(run / SCORES, text.getvalue())


def write_probes(run: Path, tasks: Sequence[Task]) -> None:
    """Write `probes.jsonl`: each task's probe items, in the order of the tasks."""
    lines = [
        json.dumps({"task": task.name, "prompt": item.prompt, "target": item.target})
        for task in tasks
        for item in task.probes
    ]
    write_text(run / PROBES, "\n".join(lines) + "\n")


def write_record(run: Path, records: Mapping[int, Mapping[str, Any]]) -> None:
    """Write `strategy.jsonl`: the record of the strategy at each step (its strength, replays, merges)."""
    lines = [json.dumps({"step": step, **record}) for step, record in sorted(records.items())]
    write_text(run / RECORD, "\n".join(lines) + "\n")
