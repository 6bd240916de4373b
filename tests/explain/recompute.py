"""The numbers of an explanation worked out again from the raw rows, with plain loops."""

from __future__ import annotations

from statistics import mean, median

import numpy as np
from scipy import stats


class Raw:
    """A store's rows as lists, by table."""

    def __init__(self, store):
        tables = ("updates", "pairs", "scores", "active", "gradients")
        self.rows = {name: store.scan(name).collect().rows(named=True) for name in tables}
        self.sizes = dict(store.runs().select("run", "size").iter_rows())
        self.tasks = {}
        for row in sorted(self.rows["active"], key=lambda row: row["step"]):
            if row["role"] == "task":
                self.tasks.setdefault(row["run"], {}).setdefault(row["task"], row["step"])

    def score(self, run, step, task):
        found = [r for r in self.rows["scores"] if (r["run"], r["step"], r["task"]) == (run, step, task)]
        return found[0] if found else None

    def steps(self, run):
        return sorted({row["step"] for row in self.rows["active"] if row["run"] == run})

    def old(self, run, step):
        return [task for task, at in self.tasks[run].items() if at < step]

    def drop(self, run, step, task):
        now, before = self.score(run, step, task), self.score(run, step - 1, task)
        return None if now is None or before is None else now["score"] - before["score"]

    def update_norm(self, run, step):
        rows = [r for r in self.rows["updates"] if (r["run"], r["step"], r["object"]) == (run, step, "state")]
        return float(np.sqrt(sum(r["increment_norm"] ** 2 for r in rows)))

    def mean_drop(self, run, step):
        drops = [d for task in self.old(run, step) if (d := self.drop(run, step, task)) is not None]
        return mean(drops) if drops else None

    def conflict(self, run, step, kind):
        rows = [r for r in self.rows["pairs"] if r["run"] == run and r["kind"] == kind]
        rows = [r for r in rows if r["step"] == step or (kind == "active" and r["step"] < step)]
        return mean(r["conflict"] for r in rows) if rows else None

    def share(self, run, step, level, part, *, source="step"):
        wanted = "state" if source == "step" else f"task:{self.task_of(run, step)}"
        column = "increment_norm" if source == "step" else "norm"
        rows = [r for r in self.rows["updates"] if (r["run"], r["step"], r["object"]) == (run, step, wanted)]
        total = sum(r[column] ** 2 for r in rows)
        return sum(r[column] ** 2 for r in rows if r[level] == part) / total

    def task_of(self, run, step):
        return next(task for task, at in self.tasks[run].items() if at == step)

    def pair(self, run, i, j, column):
        names = {f"task:{i}", f"task:{j}"}
        rows = [r for r in self.rows["pairs"] if r["run"] == run and {r["object_i"], r["object_j"]} == names]
        return mean(r[column] for r in rows)


def robust_z(value, others, floor=0.0):
    """By scipy's median absolute deviation, scaled for normal samples with the same constant."""
    spread = max(stats.median_abs_deviation(others) * 1.4826, floor, 0.005 * abs(median(others)))
    return (value - median(others)) / spread


def detrended_z(values, at):
    """The same after scipy's Theil-Sen slope of the others."""
    others = {t: v for t, v in values.items() if t != at}
    slope = stats.theilslopes(list(others.values()), list(others)).slope
    rest = [v - slope * t for t, v in others.items()]
    spread = max(stats.median_abs_deviation(rest) * 1.4826, 0.005 * abs(median(others.values())))
    return (values[at] - slope * at - median(rest)) / spread


def percentile(value, others):
    return stats.percentileofscore(others, value, kind="mean")
