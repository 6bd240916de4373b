"""The lab's experts merged instead of trained in sequence: `python data/lab/merge.py SWEEP --out FOLDER`.

For every size and seed of the sweep the fourteen experts are merged in the order in which Seq. SFT trained their
tasks, by each rule with the settings that its paper gives, and the last state is scored on the same held-out items.
SWEEP is what `geodiag lab sweep sweep --out SWEEP` made; runs that FOLDER has already are only scored again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

import geodiag
from geodiag.lab.config import LabConfig, SweepConfig, load_config
from geodiag.lab.data import TaskSequence, open_sequence
from geodiag.lab.model import load_lab_model
from geodiag.lab.reproducible import computing
from geodiag.lab.training import exact_matches, score_tasks
from geodiag.runs import load_manifest

HERE = Path(__file__).parent
METHODS: dict[str, dict[str, Any]] = {
    "GCWM": {"rule": "gcwm"},
    "GCWM, no gate": {"rule": {"name": "gcwm", "gate": {"mode": "none"}}},
    "GCWM, mean metric": {"rule": {"name": "gcwm", "metric": {"mode": "mean"}}},
    "WUDI": {"rule": "wudi"},
    "Task arithmetic": {"rule": "task_arithmetic"},
    "TIES": {"rule": "ties"},
    "OPCM": {"rule": "opcm"},
    # WUDI moves each entry by at most lr times iterations, .003 by its paper, which these updates dwarf when summed.
    "WUDI, lr 1e-3": {"rule": {"name": "wudi", "lr": 1e-3}},
    # The share of the merge that GCWM takes, for the others.
    "WUDI, eta 0.1": {"rule": "wudi", "eta": 0.1},
    "Task arithmetic, 0.1": {"rule": {"name": "task_arithmetic", "scale": 0.1}},
    # Without a learning rate: the minimum that WUDI's iterations head for.
    "WUDI, exact": {"rule": {"name": "wudi", "solver": "exact"}},
}
"""Each rule as published, then variants that a name tells apart."""


def main() -> None:
    """Merges, scores and writes merges.csv, size by size and seed by seed; prints its means as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where merged models go")
    parser.add_argument("--sizes", nargs="*", help="only these; rows of others stay as they are")
    parser.add_argument("--seeds", nargs="*", type=int, help="only these")
    arguments = parser.parse_args()
    configs = [run for run in load_config(HERE / "sweep.yaml", SweepConfig).runs() if run.method == "seq_sft"]
    for config in configs:
        if config.size in (arguments.sizes or [config.size]) and config.seed in (arguments.seeds or [config.seed]):
            with computing(config):
                write_rows(list(score_size(config, arguments.sweep, arguments.out)), configs)
    print(as_markdown(pl.read_csv(HERE / "merges.csv")))


def write_rows(rows: list[dict[str, Any]], configs: list[LabConfig]) -> None:
    """Puts the rows of a size and seed in the place of those that merges.csv has of it, sizes in the sweep's order."""
    path, table = HERE / "merges.csv", pl.DataFrame(rows)
    if path.exists():
        table = pl.concat([pl.read_csv(path).join(table, on=["size", "seed"], how="anti"), table])
    sizes = list(dict.fromkeys(config.size for config in configs))
    order = pl.col("size").replace_strict(sizes, range(len(sizes)))
    table.sort(order, "seed", maintain_order=True).write_csv(path, float_precision=6)


def score_size(config: LabConfig, sweep: Path, out: Path) -> Iterator[dict[str, Any]]:
    """One row a method: the merges of this size and seed, and what they are to be held against."""
    base, experts = sweep / "bases" / config.size, sweep / "experts" / f"{config.size}-s{config.seed}"
    course = open_sequence(config, base=base)
    yield row(config, course, "Base", base)
    own = [
        float(exact_matches(load_lab_model(experts / t.name), course.held_out[t.name]).float().mean())
        for t in course.tasks
    ]
    yield {**place(config, "Experts, each on its task"), **scores(own)}
    yield row(config, course, "Seq. SFT", load_manifest(sweep / "runs" / config.run).steps[-1].state)
    for method, settings in METHODS.items():
        run = f"{config.size}-s{config.seed}-{method}".lower().replace(",", "").replace(" ", "-")
        steps = [{"task": task.name, "checkpoint": experts / task.name} for task in course.tasks]
        given = {"run": run, "size": config.size, "method": method, "seed": config.seed, "base": base}
        given |= {"out": out / run, "experts": steps, "states": "last", "device": "cpu"}
        yield row(config, course, method, geodiag.merge({**given, **settings}).last)


def row(config: LabConfig, course: TaskSequence, method: str, state: Path) -> dict[str, Any]:
    """A state's scores, over the tasks in training order."""
    found = score_tasks(load_lab_model(state), course.held_out)
    print(f"{config.size} s{config.seed} {method}: {sum(s.score for s in found) / len(found):.3f}", flush=True)
    return {**place(config, method), **scores([s.score for s in found])}


def place(config: LabConfig, method: str) -> dict[str, Any]:
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
