"""The runs: a table of what they ended with, and a map of what every step cost."""

from __future__ import annotations

from html import escape

from geodiag.explain import Evidence
from geodiag.report.grids import table_html
from geodiag.report.heat import Heatmap
from geodiag.signals import run_outcomes
from geodiag.tables.format import DASH, number
from geodiag.tables.names import label

OUTCOMES = ("final_overall", "OP", "BWT", "FWT", "forgetting", "retention_loss", "old_mean", "worst_drop")
"""Outcomes of a run in its table, at the last step."""
HEADINGS = ("run", "size", "method", "seed", "steps", *(label(name) for name in OUTCOMES), "costliest step")
"""What the columns are called."""

Step = tuple[str, int]


def runs_table(evidence: Evidence) -> str:
    """One row a run, each leading to its costliest step."""
    worst = costliest(evidence)
    rows = [_row(row, worst.get(row["run"])) for row in run_outcomes(evidence.store).iter_rows(named=True)]
    right = [name not in ("run", "size", "method") for name in HEADINGS]
    return table_html(HEADINGS, rows, right, caption="Runs and what they ended with")


def cost_map(evidence: Evidence) -> Heatmap:
    """Runs by steps: the mean change of old tasks."""
    rows = evidence.steps.select("run", "step", "mean_drop").rows()
    runs = list(evidence.runs)
    last = max(step for _, step, _ in rows)
    values = {(runs.index(run), step - 1): drop for run, step, drop in rows if step > 1}
    reach = max((abs(drop) for drop in values.values() if drop is not None), default=0.0) or 1.0
    return Heatmap(
        title="What every step cost.",
        note="Mean change of old tasks' scores, in points of 100: red where they lost, blue where they gained. "
        "Pick a cell to have its step explained.",
        rows=runs,
        columns=[str(step) for step in range(1, last + 1)],
        values=values,
        low=-reach,
        high=reach,
        digits=0,
        scale=100,
        unit=" points",
        corner="run, step",
        steps={at: (runs[at[0]], at[1] + 1) for at in values},
    )


def costliest(evidence: Evidence) -> dict[str, Step]:
    """The step of each run at which old tasks lost most on average; its last step where none was scored."""
    found: dict[str, Step] = {}
    for run, columns in evidence.steps_of.items():
        known = [
            (drop, step) for drop, step in zip(columns["mean_drop"], columns["step"], strict=True) if drop is not None
        ]
        found[run] = (run, int(min(known)[1] if known else columns["step"][-1]))
    return found


def first_step(evidence: Evidence) -> Step:
    """The step that the page opens with: the costliest of all."""
    worst = costliest(evidence)
    drops = {(run, step): drop for run, step, drop in evidence.steps.select("run", "step", "mean_drop").rows()}
    return min(worst.values(), key=lambda step: (drops[step] is None, drops[step] or 0.0, step))


def _row(row: dict[str, object], worst: Step | None) -> list[str]:
    cells = [
        escape(str(row[name])) if row[name] is not None else DASH for name in ("size", "method", "seed", "n_steps")
    ]
    cells += [number(_float(row[name]), 3) for name in OUTCOMES]
    return [escape(str(row["run"])), *cells, DASH if worst is None else _link(worst)]


def _link(step: Step) -> str:
    run = escape(step[0], quote=True)
    return f"<button type='button' class='pick' data-run='{run}' data-step='{step[1]}'>step {step[1]}</button>"


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
