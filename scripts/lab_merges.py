"""The lab's experts merged instead of trained in sequence: `python scripts/lab_merges.py SWEEP --out FOLDER`.

For every size and seed of the sweep the fourteen experts are merged in the order in which Seq. SFT trained their
tasks, by each rule with its published settings, and the last state is scored on the same held-out items.
SWEEP is what `geodiag lab sweep sweep --out SWEEP` made. FOLDER gets the merged models and merges.csv; models that it
has already are only scored again, and rows that merges.csv has already stay unless they are scored again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

import geodiag
from geodiag.lab.config import LabConfig, SweepConfig, find_config, load_config
from geodiag.lab.data import TaskSequence, open_sequence
from geodiag.lab.model import load_trainable
from geodiag.lab.training import computing, exact_matches, score_tasks
from geodiag.runs import load_manifest

METHODS: dict[str, dict[str, Any]] = {
    "GCWM": {"rule": "gcwm"},
    "GCWM, no gate": {"rule": {"name": "gcwm", "gate": {"mode": "none"}}},
    "GCWM, mean metric": {"rule": {"name": "gcwm", "metric": {"mode": "mean"}}},
    "WUDI": {"rule": "wudi"},
    "Task arithmetic": {"rule": "task_arithmetic"},
    "TIES": {"rule": "ties"},
    "OPCM": {"rule": "opcm"},
    # WUDI moves each entry by at most lr times iterations, .003 as published, which these updates dwarf when summed.
    "WUDI, lr 1e-3": {"rule": {"name": "wudi", "lr": 1e-3}},
    # The share of the merge that GCWM takes, for the others.
    "WUDI, eta 0.1": {"rule": "wudi", "eta": 0.1},
    "Task arithmetic, 0.1": {"rule": {"name": "task_arithmetic", "scale": 0.1}},
    # Without a learning rate: the minimum that WUDI's iterations head for.
    "WUDI, exact": {"rule": {"name": "wudi", "solver": "exact"}},
}
"""Each rule as published, then variants that a name tells apart."""


def main() -> None:
    """Merge, score and write merges.csv, size by size and seed by seed; print its means as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the folder of merged models and of merges.csv")
    parser.add_argument("--sizes", nargs="*", help="only these; rows of others stay as they are")
    parser.add_argument("--seeds", nargs="*", type=int, help="only these")
    arguments = parser.parse_args()
    configs = [run for run in load_config(find_config("sweep"), SweepConfig).runs() if run.method == "seq_sft"]
    for config in configs:
        if config.size in (arguments.sizes or [config.size]) and config.seed in (arguments.seeds or [config.seed]):
            with computing(config):
                rows = list(score_size(config, arguments.sweep, arguments.out))
                write_rows(arguments.out / "merges.csv", rows, configs)
    print(as_markdown(pl.read_csv(arguments.out / "merges.csv")))


def write_rows(path: Path, rows: list[dict[str, Any]], configs: list[LabConfig]) -> None:
    """Replace the rows of a size and seed in a table, sizes in the order of the sweep."""
    table = pl.DataFrame(rows)
    if path.exists():
        table = pl.concat([pl.read_csv(path).join(table, on=["size", "seed"], how="anti"), table])
    sizes = list(dict.fromkeys(config.size for config in configs))
    order = pl.col("size").replace_strict(sizes, range(len(sizes)))
    table.sort(order, "seed", maintain_order=True).write_csv(path, float_precision=6)


def score_size(config: LabConfig, sweep: Path, out: Path) -> Iterator[dict[str, Any]]:
    """One row a method: the base, the experts and Seq. SFT of this size and seed, then the merges."""
    base, experts = sweep / "bases" / config.size, sweep / "experts" / f"{config.size}-s{config.seed}"
    sequence = open_sequence(config, base=base)
    yield row(config, sequence, "Base", base)
    own = [
        float(exact_matches(load_trainable(experts / t.name), sequence.held_out[t.name]).float().mean())
        for t in sequence.tasks
    ]
    yield {**keys(config, "Experts, each on its task"), **scores(own)}
    yield row(config, sequence, "Seq. SFT", load_manifest(sweep / "runs" / config.run).steps[-1].state)
    for method, settings in METHODS.items():
        run = f"{config.size}-s{config.seed}-{method}".lower().replace(",", "").replace(" ", "-")
        steps = [{"task": task.name, "checkpoint": experts / task.name} for task in sequence.tasks]
        given = {"run": run, "size": config.size, "method": method, "seed": config.seed, "base": base}
        given |= {"out": out / run, "experts": steps, "states": "last", "device": "cpu"}
        yield row(config, sequence, method, geodiag.merge({**given, **settings}).last)


def row(config: LabConfig, sequence: TaskSequence, method: str, state: Path) -> dict[str, Any]:
    """A state's scores, over the tasks in training order."""
    by_task = [score.score for score in score_tasks(load_trainable(state), sequence.held_out)]
    print(f"{config.size} s{config.seed} {method}: {sum(by_task) / len(by_task):.3f}", flush=True)
    return {**keys(config, method), **scores(by_task)}


def keys(config: LabConfig, method: str) -> dict[str, Any]:
    """The columns that name a row."""
    return {"size": config.size, "seed": config.seed, "method": method}


def scores(by_task: list[float]) -> dict[str, float]:
    """The mean over all tasks, over those before the last, and the last one's score."""
    old = by_task[:-1]
    return {"final_overall": sum(by_task) / len(by_task), "old_mean": sum(old) / len(old), "last_task": by_task[-1]}


def as_markdown(table: pl.DataFrame) -> str:
    """Means over seeds with half the distance between the lowest and the highest, a row a method, a column a size."""
    lines = []
    for column, title in (("final_overall", "final overall"), ("old_mean", "old-task mean")):
        half = (pl.col(column).max() - pl.col(column).min()) / 2
        cells = table.group_by("method", "size", maintain_order=True).agg(mean=pl.col(column).mean(), half=half)
        wide = cells.with_columns(
            cell=pl.format("{} ± {}", *(pl.col(c).map_elements("{:.3f}".format, pl.String) for c in ("mean", "half")))
        ).pivot("size", index="method", values="cell")
        means = table.group_by("method", maintain_order=True).agg(all=pl.col(column).mean().round(3))
        wide = wide.join(means, on="method", maintain_order="left")
        lines += [
            f"| {title} | " + " | ".join(wide.columns[1:]) + " |",
            "| --- |" + " ---: |" * (len(wide.columns) - 1),
        ]
        lines += ["| " + " | ".join(map(str, cells)) + " |" for cells in wide.iter_rows()] + [""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
